"""The loop of a rank: every inner pass is one optimizer step of the whole job, whoever its ranks are."""

from __future__ import annotations

from time import perf_counter

from shardwright_trainer.rank.errors import PeerLost, StateError
from shardwright_trainer.rank.membership import Engine, Generation, Membership
from shardwright_trainer.report import RankReport


def run(membership: Membership, engine: Engine, report: RankReport) -> None:
    """Trains until told to stop. A step may be repeated after a fault, never skipped.

    After the last step the rank stays: should a peer die before the final save is committed, the next
    generation starts at the end and stages it again.
    """
    generation = membership.regroup()
    while generation is not None:
        try:
            _tell_again(engine, report, generation)
            step = generation.step
            while step < generation.plan.total_steps:
                membership.check_boundary()
                outcome = engine.take_step(step)
                step = outcome.step
                report.step(generation.plan.generation, generation.plan.rank, outcome)
                if step % generation.plan.save_every_steps == 0 and step < generation.plan.total_steps:
                    _stage_periodic(engine, report, generation, step)
                _snapshot(engine, report, generation, step)
            _stage(engine, report, generation, step, "final")
            report.finished(generation.plan.generation, step)
        except PeerLost as lost:
            # The step was applied everywhere or can be finished from what is held; regrouping says which.
            generation = membership.regroup(lost)
        else:
            generation = membership.regroup()


def _tell_again(engine: Engine, report: RankReport, generation: Generation) -> None:
    """Steps whose reports may have died with another rank, or that were finished while regrouping."""
    for outcome in engine.outcomes_since(generation.plan.recorded_step):
        if outcome.step <= generation.step:
            report.step(generation.plan.generation, generation.plan.rank, outcome)


def _stage(engine: Engine, report: RankReport, generation: Generation, step: int, trigger: str) -> None:
    began = perf_counter()
    staged = engine.stage(step, trigger)
    report.stalled(perf_counter() - began)
    report.staged(generation.plan.generation, generation.plan.rank, step, trigger, staged)


def _stage_periodic(engine: Engine, report: RankReport, generation: Generation, step: int) -> None:
    """A periodic save that cannot be staged (memory and disk full) is left out: training is worth more."""
    try:
        _stage(engine, report, generation, step, "periodic")
    except StateError as error:
        report.log("warn", f"The save of step {step} was left out: {error.sentence}")


def _snapshot(engine: Engine, report: RankReport, generation: Generation, step: int) -> None:
    """Every k steps, all ranks together. One that finds no memory says so once and trains on: the snapshot
    before stays the newest that counts."""
    plan = generation.plan
    every = plan.snapshot_every_steps
    if every == 0 or plan.snapshot_map is None or step % every != 0 or step == plan.total_steps:
        return
    try:
        report.snapshot(engine.snapshot(step))
    except StateError as error:
        if step - every < max(generation.step, every):
            report.log("warn", f"Snapshots cannot be kept: {error.sentence}")
