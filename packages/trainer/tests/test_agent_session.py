"""A real agent with real rank processes against a scripted control plane. Seconds each: processes start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from fake_engine import schema_json
from scripted_control_plane import ControlPlane, job_spec, load_of, start_agent
from tiny_model import make_model_folder, write_chat

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import checkpoint_pb2 as checkpoint
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as plan

FAKE = "fake_engine:FakeEngine"
STEPS = 12

Script = Callable[[ControlPlane, asyncio.subprocess.Process, Path], Awaitable[None]]


def prepare_of(generation: int, local_ranks: list[int], source: agent.StateSource) -> agent.PrepareGeneration:
    entry = agent.GenerationMember(
        member="m0", first_rank=0, ranks_count=len(local_ranks), local_ranks=local_ranks
    )
    return agent.PrepareGeneration(
        members=[entry],
        world_size=len(local_ranks),
        block_map=plan.BlockMap(elements_count=4, block_elements_count=4, blocks_count=1),
        source=source,
        store_prefix=f"g{generation}/",
        save_every_steps_count=5,
        total_steps=STEPS,
        collective_timeout_seconds=20,
    )


async def make_generation(
    control: ControlPlane, generation: int, local_ranks: list[int], source: agent.StateSource, step: int
) -> None:
    begin = len(control.heard)
    control.send(generation, prepare=prepare_of(generation, local_ranks, source))
    ready = await control.wait("ready", after=begin)
    assert ready.generation == generation
    assert [evidence.version for evidence in ready.ready.ranks] == [step] * len(local_ranks)
    control.send(generation, commit=agent.CommitGeneration(step=step))


FRESH = agent.StateSource(fresh=agent.FreshSource())


def live(version: int) -> agent.StateSource:
    return agent.StateSource(live=agent.LiveSource(target_version=version))


def run_script(
    work: Path, script: Script, ranks: int = 2, spoil: Callable[[Path], None] | None = None, **train: int
) -> int:
    """Starts everything, loads the job, runs the script, and returns the agent's exit status."""

    async def main() -> int:
        control = ControlPlane()
        await control.start()
        process = await start_agent(control, work, FAKE)
        try:
            hello = (await control.wait("hello")).hello
            assert (hello.member, hello.incarnation, hello.loaded) == ("m0", 1, False)
            model, rows = make_model_folder(work / "model"), write_chat(work / "rows.jsonl", 20)
            if spoil is not None:
                spoil(rows)
            spec = job_spec(model, rows, maxSteps=STEPS, **train)
            control.send(load=load_of(spec, work, ranks))
            await script(control, process, work)
            async with asyncio.timeout(30):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await control.stop()

    return asyncio.run(main())


async def train_from_start(control: ControlPlane) -> agent.Loaded:
    loaded = (await control.wait("loaded")).loaded
    await make_generation(control, 1, [0, 1], FRESH, 0)
    return loaded


def steps_of(control: ControlPlane) -> set[tuple[int, int]]:
    return {(request.step.step, request.step.rank) for request in control.all("step")}


EVERY_STEP = {(step, rank) for step in range(1, STEPS + 1) for rank in (0, 1)}


def test_trains_saves_and_stops(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        loaded = await train_from_start(control)
        assert (loaded.data.examples_count, loaded.data.rows_count) == (20, 20)
        assert (loaded.data.total_steps, loaded.data.steps_per_epoch) == (STEPS, 10)
        assert loaded.layout.elements_count == 4 and len(loaded.ranks) == 2
        assert '"as":"base"' in loaded.external_json
        # A save is staged by both ranks, written where the control plane says, then its memory is freed.
        staged = await control.wait("save_staged", lambda found: found.step == 5)
        assert list(staged.save_staged.writers) == [0, 1]
        folder = work / "save"
        folder.mkdir()
        key = checkpoint.SaveKey(
            run="01J", step=5, generation=1, save_id="6e0f7c1a-2b3c-4d5e-8f90-a1b2c3d4e5f6"
        )
        request = agent.Persist(
            key=key, directory=str(folder), schema_json=schema_json(), crc_block_bytes=65536
        )
        control.send(1, persist=request)
        first = await control.wait("prepared", lambda found: found.prepared.writer == 0)
        second = await control.wait("prepared", lambda found: found.prepared.writer == 1)
        for report in (first.prepared, second.prepared):
            assert (folder / report.prepared.manifest_path).is_file()
        control.send(1, save_decided=agent.SaveDecided(key=key, status="committed"))
        await control.wait("finished", lambda found: found.step == STEPS)
        final = await control.wait("save_staged", lambda found: found.step == STEPS)
        assert final.save_staged.trigger == "final"
        assert steps_of(control) == EVERY_STEP
        assert not list(work.glob("*-5.staged")) and len(list(work.glob(f"*-{STEPS}.staged"))) == 2
        control.send(stop=agent.Stop(why="complete"))

    assert run_script(tmp_path, script) == 0
    assert not list(tmp_path.glob("*.staged"))


def test_killed_rank_is_told_at_once_and_started_again(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        loaded = await train_from_start(control)
        await control.wait("step", lambda found: found.step == 3)
        victim = next(rank for rank in loaded.ranks if rank.local_rank == 1)
        begin = len(control.heard)
        os.kill(victim.pid, signal.SIGKILL)
        ended = (await control.wait("rank_exit", after=begin)).rank_exit
        assert (ended.local_rank, ended.pid, ended.status) == (1, victim.pid, -signal.SIGKILL)
        assert (ended.cause, ended.respawning) == ("killed", True)
        stopped = (await control.wait("interrupted", after=begin)).interrupted
        assert [rank.local_rank for rank in stopped.ranks] == [0]
        version = stopped.ranks[0].version
        # The survivor goes on alone; the new process comes in when it has loaded.
        await make_generation(control, 2, [0], live(version), version)
        again = (await control.wait("loaded", after=begin)).loaded
        assert next(rank.pid for rank in again.ranks if rank.local_rank == 1) not in {0, victim.pid}
        begin = len(control.heard)
        control.send(2, discard=agent.DiscardGeneration())  # pause: a planned change
        paused = (await control.wait("interrupted", after=begin)).interrupted
        await make_generation(control, 3, [0, 1], live(paused.ranks[0].version), paused.ranks[0].version)
        await control.wait("finished", lambda found: found.step == STEPS, after=begin)
        assert {step for step, _ in steps_of(control)} == set(range(1, STEPS + 1))
        control.send(stop=agent.Stop(why="complete"))

    assert run_script(tmp_path, script) == 0


def test_survives_the_control_plane_and_sends_again(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        await train_from_start(control)
        # Acknowledged is what every rank has told: an earlier word would overtake the slower one's report.
        await control.wait("step", lambda found: (found.step, found.rank) == (2, 0))
        await control.wait("step", lambda found: (found.step, found.rank) == (2, 1))
        control.send(ack_steps=agent.AckSteps(step=2))
        await asyncio.sleep(0.05)
        await control.stop()
        known = len(control.heard)
        await asyncio.sleep(2)
        await control.start()
        hello = (await control.wait("hello", after=known)).hello
        assert hello.loaded and hello.running_generation == 1
        assert all(rank.version > 2 for rank in hello.holdings)
        assert control.sessions == 2
        await control.wait("finished", after=known)
        heard = [request.step for request in control.heard[known:] if request.HasField("step")]
        again = {(report.step, report.rank) for report in heard}
        assert again == {(step, rank) for step, rank in EVERY_STEP if step > 2}
        control.send(stop=agent.Stop(why="complete"))

    assert run_script(tmp_path, script) == 0


def test_death_after_the_last_step_keeps_the_final_save(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        loaded = await train_from_start(control)
        await control.wait("finished")
        begin = len(control.heard)
        os.kill(next(rank.pid for rank in loaded.ranks if rank.local_rank == 1), signal.SIGKILL)
        await control.wait("rank_exit", after=begin)
        control.send(1, discard=agent.DiscardGeneration())  # no collective runs that would wake the survivor
        stopped = (await control.wait("interrupted", after=begin)).interrupted
        assert [rank.version for rank in stopped.ranks] == [STEPS]
        await make_generation(control, 2, [0], live(STEPS), STEPS)
        staged = await control.wait("save_staged", after=begin)
        assert (staged.generation, staged.save_staged.step) == (2, STEPS)
        control.send(stop=agent.Stop(why="complete"))

    assert run_script(tmp_path, script) == 0


def test_bad_data_is_a_user_error_with_its_line(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        ended = (await control.wait("rank_exit")).rank_exit
        assert (ended.cause, ended.respawning) == ("user_error", False)
        assert "rows.jsonl:2: Example 2 cannot be parsed" in ended.sentence
        control.send(stop=agent.Stop(why="failed"))

    def spoil(rows: Path) -> None:
        lines = rows.read_text().splitlines()
        rows.write_text("\n".join([lines[0], '{"messages": [', *lines[2:]]))

    assert run_script(tmp_path, script, ranks=1, spoil=spoil) == 0


def test_model_that_cannot_be_loaded_is_a_user_error(tmp_path: Path) -> None:
    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        ended = (await control.wait("rank_exit")).rank_exit
        assert (ended.cause, ended.sentence) == ("user_error", "The model of this test cannot be loaded.")
        control.send(stop=agent.Stop(why="failed"))

    assert run_script(tmp_path, script, ranks=1, seed=666) == 0


def test_refused_member_ends(tmp_path: Path) -> None:
    """Takes the backoff of five refusals: 0.5 + 1 + 2 + 4 s."""

    async def main() -> int:
        control = ControlPlane(token="another")
        await control.start()
        process = await start_agent(control, tmp_path, FAKE)
        async with asyncio.timeout(30):
            status = await process.wait()
        await control.stop()
        return status

    assert asyncio.run(main()) == 3


def test_notice_is_given_again_and_ends_after_stop(tmp_path: Path) -> None:
    """It trains on until it is released; neither a second signal nor a lost session changes that."""

    async def script(control: ControlPlane, process: asyncio.subprocess.Process, work: Path) -> None:
        await train_from_start(control)
        await control.wait("step")
        process.send_signal(signal.SIGTERM)
        assert (await control.wait("leaving")).leaving.why == "SIGTERM"
        process.send_signal(signal.SIGTERM)
        await control.stop()
        known = len(control.heard)
        await control.start()
        await control.wait("hello", after=known)
        assert (await control.wait("leaving", after=known)).leaving.why == "SIGTERM"
        assert process.returncode is None
        control.send(stop=agent.Stop(why="left"))

    assert run_script(tmp_path, script) == 0


def test_the_grace_passes_when_nobody_takes_over(tmp_path: Path) -> None:
    async def main() -> int:
        control = ControlPlane()
        await control.start()
        process = await start_agent(control, tmp_path, FAKE, leave_grace_seconds="1")
        await control.wait("hello")
        process.send_signal(signal.SIGTERM)
        await control.wait("leaving")
        async with asyncio.timeout(30):
            status = await process.wait()
        await control.stop()
        return status

    assert asyncio.run(main()) == 4
