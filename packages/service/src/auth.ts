import { createHash, timingSafeEqual } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";
import { Fault } from "@shardwright/job/faults";

/** Throws a Fault `unauthenticated` unless the bearer token is one it knows. */
export type Authenticate = (token: string | undefined) => void;

// Longer "tokens" are an attack on the hash function, not a credential.
const TOKEN_CHARS_MAX = 4096;
const BEARER = /^Bearer ([\x21-\x7e]+)$/i;

/** Accepts exactly this token; compares digests in constant time, so neither length nor prefix leak. */
export function bearerAuth(token: string): Authenticate {
  if (token.length < 16) throw new Error("a token must have at least 16 characters");
  const expected = digest(token);
  return (presented) => {
    if (presented === undefined) {
      throw new Fault("unauthenticated", "a bearer token is required (metadata key authorization)");
    }
    if (presented.length > TOKEN_CHARS_MAX || !timingSafeEqual(digest(presented), expected)) {
      throw new Fault("unauthenticated", "the token is not valid here");
    }
  };
}

/** The bearer token of a call's metadata, or undefined when there is none or its form is wrong. */
export function bearerOf(metadata: Metadata): string | undefined {
  const values = metadata.get("authorization");
  return values.length === 1 ? bearerOfHeader(String(values[0])) : undefined;
}

/** The bearer token of an `authorization` header. */
export function bearerOfHeader(header: string | undefined): string | undefined {
  return header === undefined ? undefined : BEARER.exec(header)?.[1];
}

/** Refuses a listener that other machines can reach and that asks nobody who they are. */
export function requireSafeListen(listen: string, authenticated: boolean): void {
  if (authenticated || isLoopback(hostOf(listen))) return;
  throw new Error(
    `refusing to listen on ${listen} without authentication; set auth.mode or bind 127.0.0.1`,
  );
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return /^127(\.\d{1,3}){3}$/.test(host) || host === "::1" || host === "localhost";
}

/** Host of `host:port` or `[v6]:port`. */
export function hostOf(listen: string): string {
  return listen.slice(0, listen.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
