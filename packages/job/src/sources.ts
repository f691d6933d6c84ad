/** Where models and data come from: which addresses are legal, and why the others are not. */
import { complain, type Reader, shown } from "./fields.ts";
import { problemOfName } from "./ids.ts";
import { SOURCE_CHARACTERS_MAX } from "./limits.ts";

const FILE = "file://";
const FINE_TUNED = "ft:";

/** Addresses of the full product, and what to do until this release has them. */
const LATER_SCHEMES: Readonly<Record<string, string>> = {
  "hf:": "download the model or data set first and give its folder as file:///…",
  "s3:": "copy the files to a local or mounted folder and give it as file:///…",
  "pvc:": "mount the volume and give the folder as file:///…",
};
const FOREIGN_SCHEME =
  "no address is fetched for you; copy the files to a folder and give it as file:///…";

/** Escapes and what follows ? or # are read differently by different readers of addresses: none of them here. */
const ESCAPED = /%[0-9a-f]{2}/i;

/** `file:///absolute/path`; with `fineTuned`, also `ft:NAME`, the result of a finished job. */
export function source(options: { readonly fineTuned: boolean }): Reader<string> {
  return (value, at) => {
    if (typeof value !== "string") {
      complain(at, `must be text such as "file:///data/train.jsonl", got ${shown(value)}`);
      return "";
    }
    const problem = problemOfSource(value, options.fineTuned);
    if (problem !== null) complain(at, problem);
    return value;
  };
}

/** null when the source is legal. */
export function problemOfSource(text: string, fineTuned: boolean): string | null {
  if (text.length > SOURCE_CHARACTERS_MAX) {
    return `has ${text.length} characters, at most ${SOURCE_CHARACTERS_MAX} are allowed`;
  }
  if (text.startsWith(FILE)) return problemOfPath(text.slice(FILE.length));
  if (text.startsWith(FINE_TUNED)) return problemOfFineTuned(text, fineTuned);
  const scheme = /^([a-z][a-z0-9+.-]*:)/i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined) {
    return `${scheme}// sources are not supported in this release; ${LATER_SCHEMES[scheme] ?? FOREIGN_SCHEME}`;
  }
  return text.startsWith("/")
    ? `is a path; write it as "file://${text}"`
    : 'must be an absolute source such as "file:///data/train.jsonl"';
}

function problemOfFineTuned(text: string, allowed: boolean): string | null {
  if (!allowed) return "ft: names the result of a job, which is a model; data come from file:///…";
  const problem = problemOfName(text.slice(FINE_TUNED.length));
  return problem === null ? null : `names a job whose name ${problem}`;
}

function problemOfPath(path: string): string | null {
  if (!path.startsWith("/")) return 'must hold an absolute path: "file:///…" with three slashes';
  if (path.startsWith("//")) return "must name a local path: file:// with a host is not supported";
  if (ESCAPED.test(path)) return "holds a percent escape; write the path as it is";
  if (/[?#]/.test(path)) return "holds ? or #; rename the file or link to it";
  if (path.includes("\\")) return "holds a backslash; paths are written with /";
  const components = path.split("/");
  if (components.includes("..") || components.includes(".")) {
    return 'holds a "." or ".." component; write the path it leads to';
  }
  return path === "/" ? "names the root of the file system; give a file or a folder" : null;
}

/** The path of a `file://` source. Throws on another source: check it first. */
export function pathOfSource(text: string): string {
  if (!text.startsWith(FILE)) throw new Error(`not a file source: ${text}`);
  return text.slice(FILE.length);
}

/** The job whose result the model is; null for other sources. */
export function jobOfSource(text: string): string | null {
  return text.startsWith(FINE_TUNED) ? text.slice(FINE_TUNED.length) : null;
}
