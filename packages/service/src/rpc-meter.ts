import { status } from "@grpc/grpc-js";
import type { Meter } from "./meter.ts";
import type { RpcWatcher } from "./rpc-server.ts";

/** Counts calls, durations, open streams and refusals of a gRPC server. */
export function rpcMeter(meter: Meter): RpcWatcher {
  return {
    started: (path, streams) => {
      if (streams) meter.add("shardwright_grpc_streams", methodOf(path), 1);
    },
    ended: (path, streams, { code, seconds }) => {
      const method = methodOf(path);
      const grpc_code = status[code] ?? "UNKNOWN";
      meter.add("shardwright_grpc_server_handled_total", { ...method, grpc_code });
      if (streams) meter.add("shardwright_grpc_streams", method, -1);
      else meter.observe("shardwright_grpc_server_handling_seconds", method, seconds);
      const reason = refusalOf(code);
      if (reason !== undefined) meter.add("shardwright_auth_refusals_total", { reason });
    },
  };
}

/** `/shardwright.v1.JobService/GetJob` → its two labels. */
function methodOf(path: string): { grpc_service: string; grpc_method: string } {
  const [, service = "", method = ""] = path.split("/");
  return { grpc_service: service, grpc_method: method };
}

function refusalOf(code: status): string | undefined {
  if (code === status.UNAUTHENTICATED) return "unauthenticated";
  return code === status.PERMISSION_DENIED ? "forbidden" : undefined;
}
