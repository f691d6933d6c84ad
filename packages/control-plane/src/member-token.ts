import { createHmac, timingSafeEqual } from "node:crypto";
import { Fault } from "@shardwright/job/faults";

/** Who a member token was made for. */
export interface MemberClaims {
  readonly uid: string;
  readonly member: string;
  readonly incarnation: number;
}

const PREFIX = "sw-member";

/**
 * A token for exactly one incarnation of one member: its claims and their HMAC-SHA-256 under our secret. Nothing
 * has to be stored to make it again after a crash, or to check it.
 */
export function memberToken(secret: string, { uid, member, incarnation }: MemberClaims): string {
  const claims = `${PREFIX}.${uid}.${member}.${incarnation}`;
  return `${claims}.${createHmac("sha256", secret).update(claims).digest("base64url")}`;
}

/** The claims of a valid token. Throws a Fault `unauthenticated` for anything else. */
export function readMemberToken(secret: string, token: string | undefined): MemberClaims {
  const parts = (token ?? "").split(".");
  const [prefix, uid = "", member = "", incarnation = ""] = parts;
  const isForm = parts.length === 5 && prefix === PREFIX && /^\d{1,9}$/.test(incarnation);
  const claims = { uid, member, incarnation: Number(incarnation) };
  if (!isForm || !isEqual(token ?? "", memberToken(secret, claims))) {
    throw new Fault("unauthenticated", "a member's token is required here");
  }
  return claims;
}

function isEqual(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}
