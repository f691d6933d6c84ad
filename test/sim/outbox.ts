/** What a member has to tell: steps until acknowledged, standing facts while they hold, passing ones once. */
export class Outbox<M extends { readonly kind: string }> {
  private send: ((message: M) => void) | null = null;
  private readonly standing = new Map<string, M>();
  private readonly steps = new Map<string, { step: number; message: M }>();

  open(send: (message: M) => void, hello: M): void {
    this.send = send;
    send(hello);
    for (const { message } of this.steps.values()) send(message);
    for (const message of this.standing.values()) send(message);
  }

  close(): void {
    this.send = null;
  }

  get isOpen(): boolean {
    return this.send !== null;
  }

  post(message: M): void {
    this.send?.(message);
  }

  postStanding(key: string, message: M): void {
    this.standing.delete(key);
    this.standing.set(key, message);
    this.send?.(message);
  }

  withdraw(...keys: readonly string[]): void {
    for (const key of keys) this.standing.delete(key);
  }

  withdrawPrefix(prefix: string): void {
    for (const key of [...this.standing.keys()])
      if (key.startsWith(prefix)) this.standing.delete(key);
  }

  postStep(key: string, step: number, message: M): void {
    this.steps.set(key, { step, message });
    this.send?.(message);
  }

  acknowledge(step: number): void {
    for (const [key, kept] of [...this.steps]) if (kept.step <= step) this.steps.delete(key);
  }
}
