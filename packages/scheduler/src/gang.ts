/** What waits for a place. */

/** Members of one job that are placed together or not at all. */
export interface Gang {
  readonly members: number;
  /** Ranks of one member; all of them on one node. */
  readonly slotsPerMember: number;
  /** null = any device, one kind for the whole gang all the same. */
  readonly device: string | null;
  /** Bytes that one rank needs at its peak, as planned. */
  readonly bytesPerRank: number;
}

/** A job that has no place yet. */
export interface WaitingJob {
  readonly uid: string;
  readonly name: string;
  readonly queue: string;
  readonly priority: number;
  readonly submittedMs: number;
  /** Asked for; `membersMin` is enough to start, the rest may join later. */
  readonly gang: Gang;
  readonly membersMin: number;
}

/** Where one member goes. */
export interface Assignment {
  /** 0-based number of the member in its gang. */
  readonly member: number;
  readonly node: string;
}

/** `4 members of 8 slots`, `1 member of 1 slot`. */
export function gangText(members: number, slotsPerMember: number): string {
  const slots = `${slotsPerMember} ${slotsPerMember === 1 ? "slot" : "slots"}`;
  return `${members} ${members === 1 ? "member" : "members"} of ${slots}`;
}
