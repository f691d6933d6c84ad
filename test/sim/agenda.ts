/** Virtual time: what is due next, happens next; nothing ever waits. */
export class Agenda {
  now = 0;
  /** Entries done so far. */
  done = 0;
  private sequence = 0;
  private readonly heap: { at: number; sequence: number; work: () => void }[] = [];

  after(delayMs: number, work: () => void): void {
    this.at(this.now + Math.max(0, delayMs), work);
  }

  /** Entries of the same instant are done in the order they were made. */
  at(at: number, work: () => void): void {
    const { heap } = this;
    heap.push({ at, sequence: this.sequence++, work });
    let child = heap.length - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!this.isBefore(child, parent)) break;
      this.swap(child, parent);
      child = parent;
    }
  }

  /** Does the next entry; false when there is none before `until`. */
  next(until: number): boolean {
    const { heap } = this;
    const first = heap[0];
    if (first === undefined || first.at > until) return false;
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) {
      heap[0] = last;
      this.sink();
    }
    this.now = Math.max(this.now, first.at);
    this.done++;
    first.work();
    return true;
  }

  private sink(): void {
    let parent = 0;
    for (;;) {
      let least = parent;
      for (const child of [2 * parent + 1, 2 * parent + 2]) {
        if (child < this.heap.length && this.isBefore(child, least)) least = child;
      }
      if (least === parent) return;
      this.swap(least, parent);
      parent = least;
    }
  }

  private isBefore(one: number, other: number): boolean {
    const a = this.heap[one];
    const b = this.heap[other];
    if (a === undefined || b === undefined) return false;
    return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
  }

  private swap(one: number, other: number): void {
    const a = this.heap[one];
    const b = this.heap[other];
    if (a === undefined || b === undefined) return;
    this.heap[one] = b;
    this.heap[other] = a;
  }
}

/** An ordered way from one to another, each message with a delay of its own: a socket, a stream. */
export class Pipe<T> {
  private readonly agenda: Agenda;
  private readonly delayMs: () => number;
  private readonly deliver: (message: T) => void;
  private lastAt = 0;
  private state: "open" | "draining" | "closed" = "open";

  constructor(agenda: Agenda, delayMs: () => number, deliver: (message: T) => void) {
    this.agenda = agenda;
    this.delayMs = delayMs;
    this.deliver = deliver;
  }

  send(message: T): void {
    if (this.state !== "open") return;
    this.lastAt = Math.max(this.lastAt, this.agenda.now + this.delayMs());
    this.agenda.at(this.lastAt, () => {
      if (this.state !== "closed") this.deliver(message);
    });
  }

  /** Nothing more goes in; `late`: what is on its way still arrives. */
  close(late: boolean): void {
    this.state = late ? "draining" : "closed";
  }
}
