/** The trainer's interpreter; undefined when its environment is not made yet. */
export declare function findPython(): string | undefined;
