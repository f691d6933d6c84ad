/** Durations as people read and type them. */

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** An age as kubectl writes it: `3m12s`, `47h`, `6d2h`; never more than two parts. */
export function age(ms: number): string {
  if (!(ms >= 0)) return "<invalid>";
  const seconds = Math.floor(ms / SECOND_MS);
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(ms / MINUTE_MS);
  if (minutes < 10) return pair([minutes, "m"], [seconds % 60, "s"]);
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(ms / HOUR_MS);
  if (hours < 8) return pair([hours, "h"], [minutes % 60, "m"]);
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(ms / DAY_MS);
  if (days < 8) return pair([days, "d"], [hours % 24, "h"]);
  return days < 730 ? `${days}d` : pair([Math.floor(days / 365), "y"], [days % 365, "d"]);
}

function pair(big: [number, string], small: [number, string]): string {
  return small[0] === 0 ? big.join("") : `${big.join("")}${small.join("")}`;
}

/** A short duration with the precision that matters: `31 ms`, `0.6 s`, `12 s`, `3m12s`. */
export function seconds(value: number): string {
  if (value < 0.1) return `${Math.round(value * SECOND_MS)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 120 ? `${Math.round(value)} s` : age(value * SECOND_MS);
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
};
const DURATION = /^(\d+(\.\d+)?(ms|s|m|h|d))+$/;
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;

/** Reads `10m`, `1h30m`, `0.5s`; a bare number is seconds. Null when it is none of these. */
export function parseDuration(text: string): number | null {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * SECOND_MS;
  if (!DURATION.test(text)) return null;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(PART)) {
    total += Number(amount) * (UNITS_MS[unit ?? ""] ?? Number.NaN);
  }
  return total;
}
