// What a disk may hold after a power cut: every state that POSIX allows after each prefix of a list of calls.

/** One call as recorded; paths are relative to the root. */
export type DiskCall =
  | { readonly call: "mkdir" | "creat" | "unlink" | "fsync" | "fsyncdir"; readonly path: string }
  | { readonly call: "write"; readonly path: string; readonly bytes: Uint8Array }
  | { readonly call: "link" | "rename"; readonly path: string; readonly target: string }
  | { readonly call: "ack" };

/** One possible disk: path → content. */
export interface CrashState {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** The caller had been told that the commit is durable. */
  readonly acknowledged: boolean;
}

interface Inode {
  live: Uint8Array;
  /** What may be on the disk: the old content, the new one, half of it. */
  possible: Uint8Array[];
}
type Entry = Inode | "folder";
type Change = { readonly path: string; readonly entry: Entry | null };

/**
 * Worst case of POSIX: a name is durable only after an fsync of its folder, content only after an fsync of the
 * file; until then any subset of a folder's changes may be there, in order, and any of the contents.
 */
export function* crashStates(calls: readonly DiskCall[]): Generator<CrashState, void, void> {
  for (let length = 0; length <= calls.length; length++) yield* statesAfter(calls.slice(0, length));
}

function* statesAfter(calls: readonly DiskCall[]): Generator<CrashState, void, void> {
  const durable = new Map<string, Entry>();
  const pending = new Map<string, Change[]>();
  const live = new Map<string, Entry>();
  let acknowledged = false;
  const change = (path: string, entry: Entry | null): void => {
    if (entry === null) live.delete(path);
    else live.set(path, entry);
    const folder = folderOf(path);
    pending.set(folder, [...(pending.get(folder) ?? []), { path, entry }]);
  };
  const file = (path: string): Inode => {
    const found = live.get(path);
    if (found === undefined || found === "folder") throw new Error(`no file ${path}`);
    return found;
  };
  for (const step of calls) {
    switch (step.call) {
      case "mkdir":
        change(step.path, "folder");
        break;
      case "creat":
        change(step.path, { live: new Uint8Array(), possible: [new Uint8Array()] });
        break;
      case "write": {
        const inode = file(step.path);
        inode.live = step.bytes;
        inode.possible = [
          ...inode.possible,
          step.bytes,
          step.bytes.slice(0, step.bytes.length >> 1),
        ];
        break;
      }
      case "fsync":
        file(step.path).possible = [file(step.path).live];
        break;
      case "fsyncdir":
        for (const { path, entry } of pending.get(step.path) ?? []) apply(durable, path, entry);
        pending.delete(step.path);
        break;
      case "link":
        change(step.target, file(step.path));
        break;
      case "rename":
        change(step.target, file(step.path));
        change(step.path, null);
        break;
      case "unlink":
        change(step.path, null);
        break;
      case "ack":
        acknowledged = true;
        break;
      default:
        throw new Error(`unexpected ${JSON.stringify(step satisfies never)}`);
    }
  }
  for (const kept of subsets([...pending.values()].flat())) {
    const tree = new Map(durable);
    for (const { path, entry } of kept) apply(tree, path, entry);
    for (const files of contents(tree)) yield { files, acknowledged };
  }
}

function apply(tree: Map<string, Entry>, path: string, entry: Entry | null): void {
  if (entry === null) tree.delete(path);
  else tree.set(path, entry);
}

function* subsets<T>(all: readonly T[]): Generator<readonly T[], void, void> {
  for (let mask = 0; mask < 2 ** all.length; mask++)
    yield all.filter((_, index) => mask & (1 << index));
}

/** Every choice of content for what can be reached. */
function* contents(
  tree: ReadonlyMap<string, Entry>,
): Generator<ReadonlyMap<string, Uint8Array>, void, void> {
  const reachable = [...tree].filter(([path]) =>
    ancestors(path).every((folder) => tree.get(folder) === "folder"),
  );
  const inodes = [
    ...new Set(reachable.flatMap(([, entry]) => (entry === "folder" ? [] : [entry]))),
  ];
  const total = inodes.reduce((product, inode) => product * inode.possible.length, 1);
  for (let choice = 0; choice < total; choice++) {
    const chosen = new Map<Inode, Uint8Array>();
    let rest = choice;
    for (const inode of inodes) {
      chosen.set(inode, inode.possible[rest % inode.possible.length] ?? inode.live);
      rest = Math.floor(rest / inode.possible.length);
    }
    yield new Map(
      reachable.flatMap(([path, entry]) =>
        entry === "folder" ? [] : [[path, chosen.get(entry) ?? entry.live] as const],
      ),
    );
  }
}

function ancestors(path: string): readonly string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}

function folderOf(path: string): string {
  const cut = path.lastIndexOf("/");
  return cut < 0 ? "" : path.slice(0, cut);
}
