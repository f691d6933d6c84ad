/** Whether a process wants traffic, and why not. Not ready is the first step of a graceful stop. */
export interface Health {
  /** Undefined when ready; otherwise what a person should read. */
  notReadyBecause(): string | undefined;
  ready(): void;
  notReady(why: string): void;
}

/** Starts as not ready. */
export function createHealth(): Health {
  let why: string | undefined = "starting";
  return {
    notReadyBecause: () => why,
    ready: () => {
      why = undefined;
    },
    notReady: (because) => {
      why = because;
    },
  };
}
