export interface SetupOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal;
  readonly lock?: string;
}
export declare const TRAINER_LOCK: string;
export declare class SetupProblem extends Error {
  readonly next: string;
  constructor(what: string, next: string);
}
export declare function cacheFolder(env: NodeJS.ProcessEnv): string;
export declare function findPython(env: NodeJS.ProcessEnv, lock?: string): string | undefined;
export declare function findBasePython(env: NodeJS.ProcessEnv): { path: string; minor: number };
export declare function ensurePython(options: SetupOptions): Promise<string>;
/** What Ctrl-C is answered with, wherever it comes. */
export declare const INTERRUPTED: string;
