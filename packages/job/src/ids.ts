/** Names and ids: what is legal, and how a job's uid is made. Pure: time and chance come as arguments. */
import { NAME_CHARACTERS_MAX } from "./limits.ts";

declare const jobUid: unique symbol;
/** ULID of a job: 26 characters of Crockford's base 32, sorted by creation time. */
export type JobUid = string & { readonly [jobUid]: true };

/** Crockford's base 32: no I, L, O, U. */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/** A ULID holds 48 bits of milliseconds: they end in the year 10889. */
const TIME_MS_MAX = 2 ** 48 - 1;
const TIME_CHARACTERS = 10;
const RANDOM_BYTES = 10;
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

/** A uid from a time and ten random bytes. Throws on other input: that is a bug of the caller. */
export function makeJobUid(timeMs: number, random: Uint8Array): JobUid {
  if (!Number.isInteger(timeMs) || timeMs < 0 || timeMs > TIME_MS_MAX) {
    throw new RangeError(`time of a uid is ${timeMs}, expected milliseconds since 1970`);
  }
  if (random.length !== RANDOM_BYTES) {
    throw new RangeError(`a uid takes ${RANDOM_BYTES} random bytes, got ${random.length}`);
  }
  return (timeText(timeMs) + randomText(random)) as JobUid;
}

function timeText(timeMs: number): string {
  let text = "";
  let left = timeMs;
  for (let i = 0; i < TIME_CHARACTERS; i++) {
    text = ALPHABET.charAt(left % 32) + text;
    left = Math.floor(left / 32);
  }
  return text;
}

/** 80 bits as 16 characters of 5 bits, most significant first. */
function randomText(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    held += 8;
    while (held >= 5) {
      held -= 5;
      text += ALPHABET.charAt((bits >> held) & 31);
    }
    bits &= (1 << held) - 1;
  }
  return text;
}

/** True for a ULID in capitals. */
export function isJobUid(text: string): text is JobUid {
  return ULID.test(text);
}

/** A uid that came from outside; null when it is none. */
export function readJobUid(text: string): JobUid | null {
  return isJobUid(text) ? text : null;
}

/** Milliseconds since 1970 at which the uid was made. */
export function timeOfUid(uid: JobUid): number {
  let time = 0;
  for (const character of uid.slice(0, TIME_CHARACTERS)) {
    time = time * 32 + ALPHABET.indexOf(character);
  }
  return time;
}

const LABEL_NAME = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

/** What is wrong with a name of a job or a queue; null when nothing is. */
export function problemOfName(name: string): string | null {
  if (name === "") return "is empty; give a name of lower-case letters, digits and '-'";
  if (name.length > NAME_CHARACTERS_MAX) {
    return `has ${name.length} characters, at most ${NAME_CHARACTERS_MAX} are allowed`;
  }
  return LABEL_NAME.test(name)
    ? null
    : "must begin with a lower-case letter, end with a letter or digit, and hold only lower-case letters, digits and '-'";
}

/** Name of the member in a slot of a job: the same in logs, pods and processes. */
export function memberName(job: string, slot: number): string {
  return `${job}-m${slot}`;
}
