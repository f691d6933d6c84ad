/** Numbers as people read them. The same words in the CLI, in reasons and in plans. */

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Bytes in binary units, three digits: `0 B`, `1.50 KiB`, `12.3 GiB`, `456 MiB`. */
export function bytesText(bytes: number): string {
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 1023.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 ? 0 : digitsFor(value);
  return `${bytes < 0 ? "-" : ""}${value.toFixed(digits)} ${BYTE_UNITS[unit]}`;
}

function digitsFor(value: number): number {
  if (value < 9.995) return 2;
  return value < 99.95 ? 1 : 0;
}

/** A duration in two units, rounded down as kubectl does: `350ms`, `12s`, `3m12s`, `2h5m`, `4d7h`. */
export function durationText(milliseconds: number): string {
  if (milliseconds < 0) return `-${durationText(-milliseconds)}`;
  if (milliseconds < 1000) return `${Math.floor(milliseconds)}ms`;
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "m", seconds % 60, "s");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return two(Math.floor(minutes / 60), "h", minutes % 60, "m");
  const hours = Math.floor(minutes / 60);
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

function two(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}

const COUNT_UNITS = ["", "k", "M", "G", "T", "P"] as const;

/** A count or a rate in decimal units: `7`, `950`, `1.9k`, `134.5M`. */
export function countText(count: number): string {
  let value = Math.abs(count);
  let unit = 0;
  while (value >= 999.95 && unit < COUNT_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const text = unit === 0 ? String(Number(value.toPrecision(3))) : value.toFixed(1);
  return `${count < 0 ? "-" : ""}${text}${COUNT_UNITS[unit]}`;
}

/** `1 rank`, `3 ranks`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** A user's text for a message: shortened, on one line, without control characters. */
export function quoted(text: string, charactersMax: number): string {
  const characters = Array.from(text.slice(0, charactersMax * 2 + 2), (character) =>
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(character) ? "�" : character,
  );
  return characters.length > charactersMax
    ? `${characters.slice(0, charactersMax).join("")}…`
    : characters.join("");
}
