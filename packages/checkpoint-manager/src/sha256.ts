import { createHash } from "node:crypto";
import type { Sha256 } from "./core/sealed.ts";

/** SHA-256 as cores take it: "sha256:<hex>". */
export const sha256: Sha256 = (data) => `sha256:${createHash("sha256").update(data).digest("hex")}`;
