// A real PostgreSQL server for tests: own temporary directory, loopback port, ended by its pid.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export interface PostgresServer {
  /** For `pg`: database `postgres`, superuser, no password (loopback only). */
  readonly url: string;
  close(): Promise<void>;
}

const DEBIAN_ROOT = "/usr/lib/postgresql";

/** The directory of initdb and postgres, or why there is none. */
export function findPostgres(): { readonly bin: string } | { readonly missing: string } {
  const debian = existsSync(DEBIAN_ROOT)
    ? readdirSync(DEBIAN_ROOT)
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join(DEBIAN_ROOT, version, "bin"))
    : [];
  const candidates = [...debian, ...(process.env["PATH"] ?? "").split(delimiter)];
  const bin = candidates.find((folder) => existsSync(join(folder, "initdb")));
  if (bin === undefined)
    return { missing: "no PostgreSQL server on this machine (initdb not found)" };
  if (process.getuid?.() === 0 && unprivileged() === undefined) {
    return { missing: "PostgreSQL refuses root, and there is no user postgres or nobody" };
  }
  return { bin };
}

/** Makes a cluster and starts it; throws with the server's own words when it does not come up. */
export async function startPostgres(bin: string): Promise<PostgresServer> {
  const folder = mkdtempSync(join(tmpdir(), "shardwright-pg-"));
  const user = process.getuid?.() === 0 ? unprivileged() : undefined;
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const data = join(folder, "data");
  const settings = { cwd: folder, env: { PATH: process.env["PATH"], LC_ALL: "C" }, ...user };
  const made = spawnSync(
    join(bin, "initdb"),
    ["-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"],
    { ...settings, encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  const port = await freePort();
  const options = [
    ...["-D", data, "-p", String(port), "-k", folder],
    ...["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"],
  ];
  const server = spawn(join(bin, "postgres"), options, {
    ...settings,
    stdio: ["ignore", "ignore", "pipe"],
  });
  await ready(server);
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    close: async () => {
      const gone = new Promise((resolve) => server.once("exit", resolve));
      server.kill("SIGQUIT"); // immediate: nothing here is worth a checkpoint
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function ready(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    server.once("exit", (code) => reject(new Error(`postgres ended with ${code}: ${said}`)));
    server.stderr?.on("data", (piece: Buffer) => {
      said = (said + piece.toString()).slice(-4_000);
      if (said.includes("ready to accept connections")) resolve();
    });
  });
}

function unprivileged(): { uid: number; gid: number } | undefined {
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) =>
      Number.parseInt(spawnSync("id", [flag, name], { encoding: "utf8" }).stdout, 10),
    );
    if (uid && gid) return { uid, gid };
  }
  return undefined;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
