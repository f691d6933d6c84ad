/** Numbers as people read them in a table. */

/** `950`, `1.9k`, `12k`, `3.4M`. */
export function compact(value: number): string {
  if (!Number.isFinite(value)) return "-";
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    if (value >= size) {
      const scaled = value / size;
      return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)}${unit}`;
    }
  }
  return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : `${Math.round(value)}`;
}

/** `512 B`, `4.2 GiB`. */
export function bytes(value: number | bigint): string {
  let scaled = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (scaled < 1024) return `${unit === "B" ? scaled : scaled.toFixed(1)} ${unit}`;
    scaled /= 1024;
  }
  return `${scaled.toFixed(1)} TiB`;
}
