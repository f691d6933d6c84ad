/** Castagnoli, reflected. Node's zlib.crc32 is the IEEE polynomial, which is another checksum. */
const POLYNOMIAL = 0x82f63b78;
const TABLES = slicingTables();

/** Eight tables of 256: table k advances a byte by k more bytes, so that eight bytes cost eight look-ups. */
function slicingTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let index = 256; index < 8 * 256; index++) {
    const shorter = tables[index - 256] ?? 0;
    tables[index] = (shorter >>> 8) ^ (tables[shorter & 255] ?? 0);
  }
  return tables;
}

/** CRC-32C of bytes [begin, end) as an unsigned 32-bit number; `seed` continues an earlier result. */
export function crc32c(bytes: Uint8Array, begin = 0, end = bytes.length, seed = 0): number {
  // Indexing within bounds never yields undefined; the assertions keep the loop free of branches.
  const table = TABLES as unknown as { [index: number]: number };
  const data = bytes as unknown as { [index: number]: number };
  let crc = ~seed;
  let at = begin;
  for (const stop = end - 7; at < stop; at += 8) {
    const low =
      crc ^
      (at0(data, at) |
        (at0(data, at + 1) << 8) |
        (at0(data, at + 2) << 16) |
        (at0(data, at + 3) << 24));
    crc =
      at0(table, 1792 + (low & 255)) ^
      at0(table, 1536 + ((low >>> 8) & 255)) ^
      at0(table, 1280 + ((low >>> 16) & 255)) ^
      at0(table, 1024 + (low >>> 24)) ^
      at0(table, 768 + at0(data, at + 4)) ^
      at0(table, 512 + at0(data, at + 5)) ^
      at0(table, 256 + at0(data, at + 6)) ^
      at0(table, at0(data, at + 7));
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ at0(table, (crc ^ at0(data, at)) & 255);
  return ~crc >>> 0;
}

function at0(array: { [index: number]: number }, index: number): number {
  return array[index] as number;
}

/** Eight hexadecimal digits, as messages show a CRC. */
export function crcHex(crc: number): string {
  return crc.toString(16).padStart(8, "0");
}
