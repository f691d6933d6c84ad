/**
 * One simulated member: a gRPC bidirectional stream on a connection of its own, speaking the real messages of
 * AgentService as the agent does, without ranks behind it. Many of them run in one process, so the stream is made of
 * node:http2 and gRPC's five-byte frames instead of a client channel each.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { SessionRequest, SessionResponse } from "@shardwright/proto";
import { blockMapFromWire, heldBlocks, ownedBlocks } from "../../packages/planner/src/index.ts";
import { adapterLayout, dataFacts } from "./members-model.ts";

type Said = NonNullable<SessionRequest["body"]>;
type Told = NonNullable<SessionResponse["body"]>;
type Prepare = Extract<Told, { $case: "prepare" }>["value"];

/** As the launcher was told; see members-plane.ts. */
export interface Launch {
  readonly uid: string;
  readonly member: string;
  readonly slot: number;
  readonly incarnation: number;
  readonly token: string;
}

/** Where the peers report what they saw; times are `performance.now()`. */
export interface Gauge {
  sent(): void;
  acknowledged(milliseconds: number): void;
  /** The first acknowledgement on a stream. */
  back(peer: Peer): void;
  /** The control plane ended what it should not have. */
  strange(sentence: string): void;
}

// As the agent connects again (agent/session.py): doubling, half of it drawn.
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 10_000;
const FRAME_HEAD_BYTES = 5;
const RSS_BYTES = 1 << 30;

interface Seat {
  readonly generation: bigint;
  readonly rank: number;
  readonly lanes: readonly number[];
}

export class Peer {
  readonly launch: Launch;
  /** Steps done; grows as long as the generation runs, whoever listens. */
  step = 0;
  acknowledgedStep = 0;
  running: Seat | null = null;
  private readonly pid: number;
  private readonly gauge: Gauge;
  private prepared: Seat | null = null;
  private isLoaded = false;
  private readonly unacknowledged = new Map<number, { frame: Buffer; sentMs: number }>();
  private connection: ClientHttp2Session | null = null;
  private stream: ClientHttp2Stream | null = null;
  private isBack = false;
  private backoffMs = BACKOFF_MS_MIN;
  private rest: Buffer = Buffer.alloc(0);
  private isEnded = false;

  constructor(launch: Launch, pid: number, gauge: Gauge) {
    this.launch = launch;
    this.pid = pid;
    this.gauge = gauge;
  }

  get isConnected(): boolean {
    return this.isBack;
  }

  connect(address: string): void {
    const connection = connect(`http://${address}`);
    this.connection = connection;
    connection.on("error", () => undefined);
    connection.on("close", () => this.again(address));
    const stream = connection.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: "/shardwright.v1.AgentService/Session",
      "content-type": "application/grpc",
      te: "trailers",
      authorization: `Bearer ${this.launch.token}`,
    });
    this.stream = stream;
    this.rest = Buffer.alloc(0);
    stream.on("data", (chunk: Buffer) => this.read(chunk));
    stream.on("trailers", (trailers) => {
      if (trailers["grpc-status"] !== "0" && !this.isEnded)
        this.gauge.strange(`${trailers["grpc-status"]} ${trailers["grpc-message"]}`);
    });
    stream.on("error", () => undefined);
    stream.on("close", () => connection.destroy());
    this.say(this.hello());
    for (const { frame } of this.unacknowledged.values()) stream.write(frame);
    if (this.isLoaded) this.say(this.loaded());
  }

  end(): void {
    this.isEnded = true;
    this.connection?.destroy();
  }

  beat(phase: string): void {
    if (this.running === null || this.stream === null) return;
    const rank = {
      localRank: 0,
      step: BigInt(this.step),
      phase,
      rssBytes: BigInt(RSS_BYTES),
      silentMs: 3,
    };
    this.say({ $case: "beat", value: { ranks: [rank] } }, this.running.generation);
  }

  /** One step is done: its report is kept until it is acknowledged. */
  takeStep(seconds: number): void {
    if (this.running === null) return;
    const { generation, rank, lanes } = this.running;
    this.step += 1;
    const value = {
      step: BigInt(this.step),
      rank,
      lanes: lanes.map((lane) => ({
        lane,
        lossSum: 700 / this.step,
        exampleIds: [BigInt(this.step * 1000 + lane), BigInt(this.step * 1000 + lane + 500)],
        trainedTokensCount: 900n,
        processedTokensCount: 1024n,
      })),
      loss: 1 / this.step,
      gradNorm: 1,
      learningRate: 1e-4,
      seconds,
      stallSeconds: 0,
      sections: {
        data: 0,
        forwardBackward: seconds,
        reduce: 0,
        optimizer: 0,
        gather: 0,
        other: 0,
      },
      rssBytes: BigInt(RSS_BYTES),
      sentBytes: 1n << 24n,
    };
    const frame = frameOf({ generation, body: { $case: "step", value } });
    this.unacknowledged.set(this.step, { frame, sentMs: performance.now() });
    if (this.stream !== null) this.write(this.stream, frame);
  }

  private hello(): Said {
    const { uid, member, incarnation } = this.launch;
    return {
      $case: "hello",
      value: {
        jobUid: uid,
        member,
        incarnation,
        pid: this.pid,
        node: "bench",
        deviceType: "cpu",
        deviceBytes: 0n,
        coresCount: 1,
        trainerVersion: "0",
        torchVersion: "0",
        holdings: this.running === null ? [] : [this.holding(this.running)],
        runningGeneration: this.running?.generation ?? 0n,
        loaded: this.isLoaded,
        stagedSteps: [],
      },
    };
  }

  private holding({ generation, rank }: Seat) {
    return {
      localRank: 0,
      pid: this.pid,
      generation,
      rank,
      version: BigInt(this.step),
      pending: false,
    };
  }

  private loaded(): Said {
    return {
      $case: "loaded",
      value: {
        layout: adapterLayout(),
        data: dataFacts(),
        recipeSha256: "bench",
        ranks: [
          { localRank: 0, pid: this.pid, generation: 0n, rank: 0, version: 0n, pending: false },
        ],
        externalJson: "[]",
        loraJson: "",
        rssBytes: BigInt(RSS_BYTES),
        templateJson: "",
      },
    };
  }

  private hear(body: Told, generation: bigint): void {
    switch (body.$case) {
      case "load":
        if (this.isLoaded) return;
        this.isLoaded = true;
        this.say(this.loaded());
        return;
      case "prepare":
        this.prepare(body.value, generation);
        return;
      case "commit":
        if (this.prepared?.generation !== generation) return;
        this.running = this.prepared;
        this.prepared = null;
        this.step = Number(body.value.step);
        return;
      case "discard":
        this.gauge.strange(`generation ${generation} of ${this.launch.member} was discarded`);
        return;
      case "ackSteps":
        this.acknowledge(Number(body.value.step));
        return;
      case "stop":
        this.end();
        return;
      case "persist":
      case "saveDecided":
      case "restartRank":
        this.gauge.strange(`${this.launch.member} was told ${body.$case}`);
        return;
      default:
        body satisfies never;
    }
  }

  private prepare(value: Prepare, generation: bigint): void {
    if (this.running !== null && generation <= this.running.generation) return;
    const own = value.members.find(({ member }) => member === this.launch.member);
    if (own === undefined || value.blockMap === undefined) throw new Error("no seat in a prepare");
    const rank = own.firstRank;
    const lanes = value.lanes
      .filter((range) => range.rank === rank)
      .flatMap(({ laneBegin, laneEnd }) =>
        Array.from({ length: laneEnd - laneBegin }, (_, at) => laneBegin + at),
      );
    this.prepared = { generation, rank, lanes };
    const map = blockMapFromWire(value.blockMap);
    const owned = ownedBlocks(map, rank);
    const evidence = {
      rank,
      ownedBlocksCount: owned,
      replicaBlocksCount: heldBlocks(map, rank) - owned,
      optimizerBytes: 0n,
      receivedBytes: 0n,
      sentBytes: 0n,
      version: BigInt(this.step),
      ownedCrc32c: 0,
    };
    this.say({ $case: "ready", value: { ranks: [evidence], seconds: 0.1 } }, generation);
  }

  private acknowledge(step: number): void {
    const now = performance.now();
    for (const [own, { sentMs }] of this.unacknowledged) {
      if (own > step) continue;
      // What was sent on an earlier stream waited for the reconnect, not for an answer.
      if (this.isBack) this.gauge.acknowledged(now - sentMs);
      this.unacknowledged.delete(own);
    }
    this.acknowledgedStep = Math.max(this.acknowledgedStep, step);
    this.backoffMs = BACKOFF_MS_MIN;
    if (this.isBack || this.unacknowledged.size > 0) return;
    this.isBack = true;
    this.gauge.back(this);
  }

  private say(body: Said, generation = 0n): void {
    if (this.stream !== null) this.write(this.stream, frameOf({ generation, body }));
  }

  private write(stream: ClientHttp2Stream, frame: Buffer): void {
    stream.write(frame);
    this.gauge.sent();
  }

  private read(chunk: Buffer): void {
    let data = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (data.length >= FRAME_HEAD_BYTES) {
      const end = FRAME_HEAD_BYTES + data.readUInt32BE(1);
      if (data.length < end) break;
      const { body, generation } = SessionResponse.decode(data.subarray(FRAME_HEAD_BYTES, end));
      data = data.subarray(end);
      if (body !== undefined) this.hear(body, generation);
    }
    this.rest = data;
  }

  private again(address: string): void {
    this.stream = null;
    this.isBack = false;
    if (this.isEnded) return;
    const waitMs = this.backoffMs * (0.5 + Math.random() / 2);
    this.backoffMs = Math.min(2 * this.backoffMs, BACKOFF_MS_MAX);
    setTimeout(() => this.connect(address), waitMs);
  }
}

function frameOf(request: SessionRequest): Buffer {
  const message = SessionRequest.encode(request).finish();
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, FRAME_HEAD_BYTES);
  return frame;
}
