// Writes docs/cli.md from the built command line's table of verbs.
import { writeFileSync } from "node:fs";
import { reference } from "./dist/reference.js";
import { VERBS } from "./dist/verbs.js";

writeFileSync(new URL("../../docs/cli.md", import.meta.url), reference(VERBS));
