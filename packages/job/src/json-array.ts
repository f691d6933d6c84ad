/** The elements of one large JSON array, a line at a time, without holding more than one of them. */

/** The text of one element, without the comma. */
export interface ArrayElement {
  /** The line on which the element begins. */
  readonly line: number;
  readonly text: string;
}

/** Fed line by line. */
export interface ArraySplitter {
  /** Elements that end on this line. */
  line(text: string, number: number): ArrayElement[];
  /** A sentence when the array does not end, or something follows it. */
  end(): string | null;
}

/** How a bracket outside of text changes the depth. */
const DEPTH_STEPS: Readonly<Record<string, number>> = { "{": 1, "[": 1, "}": -1, "]": -1 };

type Mode = "before" | "between" | "element" | "after" | "trailing";

/** Text after `elementCharactersMax` is not kept: such an element is cut and will not parse. */
export function makeArraySplitter(elementCharactersMax: number): ArraySplitter {
  let mode: Mode = "before";
  let depth = 0;
  let inString = false;
  let isEscaped = false;
  let pieces = "";
  let begin = 0;
  let done: ArrayElement[] = [];

  const finish = (): void => {
    done.push({ line: begin, text: pieces.trim() });
    pieces = "";
    mode = "between";
  };
  const keep = (character: string): void => {
    if (pieces.length < elementCharactersMax) pieces += character;
  };
  const inText = (character: string): void => {
    keep(character);
    if (isEscaped) isEscaped = false;
    else if (character === "\\") isEscaped = true;
    else if (character === '"') inString = false;
  };
  const inElement = (character: string): void => {
    if (inString) {
      inText(character);
    } else if (depth === 0 && (character === "," || character === "]")) {
      finish();
      if (character === "]") mode = "after";
    } else {
      keep(character);
      inString = character === '"';
      depth += DEPTH_STEPS[character] ?? 0;
    }
  };
  const outside = (character: string, number: number): void => {
    if (/[ \t\n\r]/.test(character)) return;
    if (mode === "before" && character === "[") mode = "between";
    else if (mode === "between" && character === "]") mode = "after";
    else if (mode === "between" && character !== ",") {
      mode = "element";
      begin = number;
      depth = 0;
      inElement(character);
    } else if (mode === "after") mode = "trailing";
  };

  return {
    line(text, number) {
      done = [];
      for (const character of `${text}\n`) {
        if (mode === "element") inElement(character);
        else outside(character, number);
      }
      return done;
    },
    end() {
      if (mode === "after") return null;
      return mode === "trailing"
        ? "Something follows the end of the JSON array."
        : "The JSON array does not end.";
    },
  };
}
