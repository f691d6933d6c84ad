"""The real agent, rank and store on a tiny random Llama. Some 10 s: each process imports torch."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from models import save_model
from scripted_control_plane import ControlPlane, job_spec, load_of, start_agent
from test_agent_store import start as start_store
from tiny_model import VOCABULARY, make_model_folder, write_chat

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as plan

STEPS, BLOCK = 8, 256


def block_map(elements: int, ranks: int) -> plan.BlockMap:
    """Halves, each held by both ranks; by rank 0 alone when it is the only one."""
    blocks = -(-elements // BLOCK)
    half = blocks // 2 if ranks == 2 else blocks
    runs = [plan.BlockRun(first_block=0, blocks_count=half, holders=[0, 1][:ranks])]
    if ranks == 2:
        runs.append(plan.BlockRun(first_block=half, blocks_count=blocks - half, holders=[1, 0]))
    return plan.BlockMap(elements_count=elements, block_elements_count=BLOCK, blocks_count=blocks, runs=runs)


def prepare(
    generation: int, elements: int, local_ranks: list[int], port: int, source: agent.StateSource
) -> agent.PrepareGeneration:
    count = len(local_ranks)
    lanes = [plan.LaneRange(rank=0, lane_begin=0, lane_end=2 // count)]
    if count == 2:
        lanes.append(plan.LaneRange(rank=1, lane_begin=1, lane_end=2))
    entry = agent.GenerationMember(member="m0", first_rank=0, ranks_count=count, local_ranks=local_ranks)
    return agent.PrepareGeneration(
        members=[entry],
        world_size=count,
        block_map=block_map(elements, count),
        lanes=lanes,
        source=source,
        store_host="127.0.0.1",
        store_port=port,
        store_prefix=f"g{generation}/",
        save_every_steps_count=100,
        total_steps=STEPS,
        collective_timeout_seconds=60,
    )


def run_job(work: Path, kill: bool) -> dict[int, float]:
    """Trains to the end with two ranks, one of which may be killed on the way; returns step → loss."""

    work.mkdir()

    async def main() -> dict[int, float]:
        reading, writing = os.pipe()
        store = start_store("--ready-fd", str(writing), pass_fds=(writing,))
        os.close(writing)
        control = ControlPlane()
        await control.start()
        process = await start_agent(control, work, None)
        try:
            model = make_model_folder(work / "model")
            save_model(model, "llama", vocab_size=VOCABULARY, max_position_embeddings=512)
            await control.wait("hello")
            spec = job_spec(model, write_chat(work / "rows.jsonl", 12), maxSteps=STEPS, learningRate=1e-2)
            load = load_of(spec, work, 2)
            load.plan.block_elements_count = BLOCK
            control.send(load=load)
            with os.fdopen(reading) as file:
                port = json.loads(await asyncio.to_thread(file.readline))["port"]
            loaded = (await control.wait("loaded")).loaded
            await train(control, loaded, port, kill)
            control.send(stop=agent.Stop(why="complete"))
            async with asyncio.timeout(30):
                assert await process.wait() == 0
            return {request.step.step: request.step.loss for request in control.all("step")}
        finally:
            store.terminate()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await control.stop()

    return asyncio.run(main())


async def train(control: ControlPlane, loaded: agent.Loaded, port: int, kill: bool) -> None:
    elements = loaded.layout.elements_count
    fresh = agent.StateSource(fresh=agent.FreshSource())
    control.send(1, prepare=prepare(1, elements, [0, 1], port, fresh))
    ready = (await control.wait("ready")).ready
    blocks = -(-elements // BLOCK)
    assert sum(evidence.owned_blocks_count for evidence in ready.ranks) == blocks
    control.send(1, commit=agent.CommitGeneration(step=0))
    if kill:
        await control.wait("step", lambda found: found.step >= 2)
        begin = len(control.heard)
        os.kill(next(rank.pid for rank in loaded.ranks if rank.local_rank == 1), signal.SIGKILL)
        assert (await control.wait("rank_exit", after=begin)).rank_exit.cause == "killed"
        held = (await control.wait("interrupted", after=begin)).interrupted.ranks[0]
        target = held.version + int(held.pending)
        live = agent.StateSource(live=agent.LiveSource(target_version=target))
        control.send(2, prepare=prepare(2, elements, [0], port, live))
        await control.wait("ready", after=begin)
        control.send(2, commit=agent.CommitGeneration(step=target))
    await control.wait("finished", lambda found: found.step == STEPS)


def test_a_killed_rank_changes_no_loss(tmp_path: Path) -> None:
    undisturbed = run_job(tmp_path / "a", kill=False)
    assert sorted(undisturbed) == list(range(1, STEPS + 1))
    assert undisturbed[STEPS] < undisturbed[1]
    assert run_job(tmp_path / "b", kill=True) == undisturbed
