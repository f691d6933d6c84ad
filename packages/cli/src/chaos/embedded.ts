import { realpathSync } from "node:fs";
import { readServerFile, type ServerFile } from "../context.ts";
import { EXIT, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { isServed } from "../up/data-directory.ts";

/**
 * The `up` of this machine that the settings name. Faults are made with signals, which reach nobody else's machine:
 * anything but an embedded control plane is a Refusal.
 */
export function embeddedServer(call: Invocation, verb: string): ServerFile {
  const { settings, io } = call;
  const local = readServerFile(settings.dataDir);
  if (settings.server !== null && settings.server !== local?.address) {
    throw new Refusal(EXIT.usage, `${verb} works on an embedded control plane only`, {
      why: `${settings.server} is not the one that serves ${settings.dataDir}; faults are made with signals to processes of this machine`,
      next: `leave --server away, or name its data directory with --data-dir`,
    });
  }
  if (local === null || !isServed(realpathSync(settings.dataDir))) {
    throw new Refusal(EXIT.unreachable, "no control plane is running here", {
      why: `nobody serves ${settings.dataDir}`,
      next: `${io.program} up --detach`,
    });
  }
  return local;
}
