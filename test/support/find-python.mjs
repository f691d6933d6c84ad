// Where the trainer's Python is, for tests and tools: as every program of ours finds it. Undefined when there is none.
import { findPython as find } from "../../packages/cli/bin/python-environment.mjs";

export function findPython() {
  return find(process.env);
}
