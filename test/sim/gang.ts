/** A process group: collectives that pass for all or may fail for any, exactly when somebody leaves. */
import type { Agenda } from "./agenda.ts";
import type { Draw } from "./draw.ts";

/** A rank as the group sees it. */
export interface Peer {
  readonly alive: boolean;
}

interface Waiter<D> {
  readonly rank: number;
  readonly data: D;
  readonly pass: (all: readonly D[]) => void;
  readonly fail: () => void;
}

/**
 * Passing a collective means that everybody had arrived. When somebody leaves before that, nobody passes; when
 * somebody leaves after it, each of the others passes or fails on its own.
 */
export class Gang {
  readonly name: string;
  readonly size: number;
  private readonly agenda: Agenda;
  private readonly draw: Draw;
  private readonly waiting = new Map<string, Waiter<unknown>[]>();
  private broken = false;

  constructor(name: string, size: number, world: { agenda: Agenda; draw: Draw }) {
    this.name = name;
    this.size = size;
    this.agenda = world.agenda;
    this.draw = world.draw;
  }

  /** `name` is the same for all who meet here; `pass` gets what each brought, by rank. */
  meet<D>(name: string, waiter: Waiter<D>): void {
    if (this.broken) {
      this.soon(waiter.fail);
      return;
    }
    const all = (this.waiting.get(name) ?? []) as Waiter<D>[];
    all.push(waiter);
    this.waiting.set(name, all as Waiter<unknown>[]);
    if (all.length < this.size) return;
    this.waiting.delete(name);
    const data = [...all].sort((a, b) => a.rank - b.rank).map((one) => one.data);
    for (const one of all) {
      this.soon(() => {
        if (this.broken && this.draw.chance(0.5)) one.fail();
        else one.pass(data);
      });
    }
  }

  /** Somebody closed its end or died. */
  leave(): void {
    if (this.broken) return;
    this.broken = true;
    for (const waiters of this.waiting.values()) for (const one of waiters) this.soon(one.fail);
    this.waiting.clear();
  }

  private soon(work: () => void): void {
    this.agenda.after(this.draw.ms(1, 20), work);
  }
}
