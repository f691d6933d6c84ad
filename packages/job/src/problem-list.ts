/** The problems of one file: the first are kept, all are counted. */
import { DATA_HINTS, DATA_TEXTS, type DataProblem, type DataProblemCode } from "./data-problems.ts";
import { DATA_PROBLEMS_MAX } from "./limits.ts";

/** Where a problem stands, and its text. */
export interface ProblemAt {
  readonly message: string;
  readonly line: number | null;
  readonly example: number | null;
}

/** Collects problems of one file. */
export interface ProblemList {
  add(severity: DataProblem["severity"], code: DataProblemCode, at: ProblemAt): void;
  count(severity: DataProblem["severity"]): number;
  list(): DataProblem[];
  more(): string | null;
}

/** Keeps the first of each severity and counts the rest; a warning is told once for each text. */
export function makeProblemList(): ProblemList {
  const kept: Record<DataProblem["severity"], DataProblem[]> = { error: [], warning: [] };
  const counts = { error: 0, warning: 0 };
  return {
    add(severity, code, at) {
      if (severity === "warning" && kept.warning.some(({ message }) => message === at.message))
        return;
      counts[severity]++;
      if (kept[severity].length >= DATA_PROBLEMS_MAX) return;
      kept[severity].push({ severity, code, ...at, hint: DATA_HINTS[code] });
    },
    count: (severity) => counts[severity],
    list: () => [...kept.error, ...kept.warning],
    more() {
      const hidden = counts.error + counts.warning - kept.error.length - kept.warning.length;
      return hidden === 0 ? null : DATA_TEXTS.more(hidden);
    },
  };
}
