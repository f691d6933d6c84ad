/** What a plan that fits should still make a person think about. */
import { durationText } from "@shardwright/job";
import { GPU_CARDS } from "./gpu-card.ts";
import type { Candidate } from "./plan-candidates.ts";
import type { PlanRequest } from "./plan-request.ts";

/** Communication that is not hidden may take this share of a step before it is worth a word. */
const EXPOSED_RATIO_MAX = 0.3;

export function planWarnings(request: PlanRequest, chosen: Candidate): string[] {
  const { spec, devices } = request;
  const { ranks } = chosen.world;
  const threads = spec.resources.threadsPerRank;
  const warnings: string[] = [];
  const isCpu = GPU_CARDS.get(devices.kind)?.isCpu ?? false;
  if (isCpu && ranks * threads > devices.coresCount) {
    warnings.push(
      `${ranks} ranks of ${threads} threads share ${devices.coresCount} cores: the step gets slower, not faster`,
    );
  }
  if (ranks > chosen.shape.lanes) {
    warnings.push(
      `a step has ${chosen.shape.lanes} lanes, so ${ranks - chosen.shape.lanes} of ${ranks} ranks have no gradient work`,
    );
  }
  const share = chosen.seconds.exposed / chosen.seconds.total;
  if (share > EXPOSED_RATIO_MAX) {
    const exposed = durationText(chosen.seconds.exposed * 1000);
    warnings.push(
      `NetworkBound: ${exposed} of a step of ${durationText(chosen.seconds.total * 1000)} is communication that nothing hides (${Math.round(share * 100)} %)`,
    );
  }
  return warnings;
}
