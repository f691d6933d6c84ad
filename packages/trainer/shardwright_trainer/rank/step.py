"""One rank of the exact block-sharded step: lanes, canonical tree, norm, commit point, update, gather.

The state of a rank is always at a step boundary when a method returns or raises: `version` steps are
applied to every held block, and at most one more is pending (reduced, its norm known, not applied).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import torch

from shardwright_trainer.blocks.adamw import AdamW
from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.norm import clip_factor, norm_of, scale_and_square
from shardwright_trainer.blocks.state import BlockState
from shardwright_trainer.nn.model import load_model
from shardwright_trainer.plan.config import (
    CheckpointSource,
    Evidence,
    FreshSource,
    GenerationPlan,
    Holding,
    LiveSource,
    RankConfig,
    Snapshot,
    SnapshotSource,
    Staged,
    StepOutcome,
)
from shardwright_trainer.plan.schedule import learning_rate
from shardwright_trainer.rank import engine_adopt as adoption
from shardwright_trainer.rank.engine_adopt import Membership
from shardwright_trainer.rank.engine_digest import digest32, recipe_sha256, set_up_torch
from shardwright_trainer.rank.engine_gang import Gang, Progress, go_on
from shardwright_trainer.rank.engine_history import History, StepFacts
from shardwright_trainer.rank.engine_lanes import LaneWork, Rows, StepRows
from shardwright_trainer.rank.engine_pending import Peer, Pending, handshake, known_facts
from shardwright_trainer.rank.engine_reduce import Reduction, Shares, payload_sizes
from shardwright_trainer.rank.engine_sections import Sections
from shardwright_trainer.rank.engine_snapshot import Resting, SnapshotWork, take_snapshot
from shardwright_trainer.rank.engine_stage import stage_owned
from shardwright_trainer.rank.errors import NonFiniteLoss, StateError, UserError


class Engine:
    """A model, its part of the optimizer state, and the generation it takes part in."""

    def __init__(self, config: RankConfig, data: Rows, report: Progress) -> None:
        """Loads the model; heavy. report(phase, ratio) hears of loading and of the phases of each step."""
        set_up_torch(config.recipe)
        self._config = config
        self._data = data
        self._report = report
        self._trained = load_model(config, report)
        self._work = LaneWork(config, self._trained, data)
        self._reduction = Reduction(config, self._work, self._trained.flat.device)
        self._version = 0
        self._pending: Pending | None = None
        self._history = History()
        self._gang: Gang | None = None
        self._check: Callable[[], None] = go_on
        self._candidate: Membership | None = None
        self._committed: Membership | None = None
        self._snapshots: SnapshotWork | None = None
        self.layout = self._trained.layout
        self.recipe_sha256 = recipe_sha256(config.recipe, self._trained.fingerprint)
        self.lora_json = json.dumps(self._trained.lora) if self._trained.lora is not None else ""

    def holding(self) -> Holding:
        """What this rank holds, by the map of the generation it last committed; generation 0 = nothing."""
        if self._committed is None:
            return Holding(generation=0, rank=0, version=0, pending=False)
        plan = self._committed.plan
        pending = self._pending is not None and self._pending.facts is not None
        return Holding(generation=plan.generation, rank=plan.rank, version=self._version, pending=pending)

    # -- membership

    def connect(self, plan: GenerationPlan, check: Callable[[], None] = go_on) -> None:
        """Leaves the old process group and joins the new one. PeerLost when it does not come about in
        time, or when `check` raises it while others are waited for."""
        adoption.check_plan(plan, self.layout, self._config)
        self._disconnect()
        self._check = check
        self._gang = Gang(plan, self._config.recipe.device_type, check)

    def adopt(self, plan: GenerationPlan) -> Evidence:
        """Brings the state of the plan's source here and verifies it; `commit` makes it the state to train.

        PeerLost when a peer goes; StateError when the state cannot be had or differs.
        """
        gang = self._connected()
        lanes = self._config.recipe.lanes
        # Another stage or another way of summing exchanges other messages: they would wait for each other.
        way = f"{self._config.zero_stage} {self._config.spec.get('exactness', 'exact')}"
        digest = digest32(self.layout.fingerprint, self.recipe_sha256, way)
        peers = handshake(
            gang, self._version, self._pending, lanes=lanes, digest=digest, device=self._trained.flat.device
        )
        held = tuple(Held.of(plan.block_map, rank) for rank in range(plan.world_size))
        mine, flat, sent, received = Held.of(plan.block_map, plan.rank), self._trained.flat, 0, 0
        match plan.source:
            case LiveSource() as source:
                self._settle(source.target_version, peers)
                old = self._committed.state if self._committed is not None else None
                state, sent, received = adoption.take_live(source, gang, mine, flat, old)
                self._version = source.target_version
                if plan.leavers:
                    gang = self._part_from_leavers(plan, gang)
                if plan.leaves:
                    return adoption.leaver_evidence(self._version, sent)
            case FreshSource():
                self._forget()
                self._trained.reset()
                state = BlockState.allocate(mine, flat)
            case SnapshotSource() as source:
                self._forget()
                resting = Resting(source=source, files=plan.snapshot_files, recipe_sha256=self.recipe_sha256)
                state, sent, received = take_snapshot(resting, gang, mine, flat)
                self._version = source.step
            case CheckpointSource() as source:
                self._forget()
                state = adoption.take_checkpoint(plan, source, self.layout, mine, flat)
                self._version = source.step
        adoption.gather_parameters(gang, held, flat)
        crcs = adoption.verify(gang, held, state)
        self._candidate = Membership(plan, gang, held, state)
        return adoption.evidence_of(self._candidate, self._version, crcs, sent, received)

    def commit(self, plan: GenerationPlan) -> None:
        """The adopted generation is the one to train; state the new map does not give is let go."""
        if self._candidate is None or self._candidate.plan.generation != plan.generation:
            raise StateError("NotAdopted", f"generation {plan.generation} was not adopted on this rank")
        self._committed, self._candidate = self._candidate, None
        if self._snapshots is not None:
            self._snapshots.close()
        snapshot_map, held = plan.snapshot_map, self._committed.held
        self._snapshots = None if snapshot_map is None else SnapshotWork(plan, held, snapshot_map)

    def discard(self, plan: GenerationPlan) -> None:
        """Forgets a generation that was not committed; the committed one's state stays, without a process
        group."""
        if self._committed is not None and self._committed.plan.generation == plan.generation:
            return
        self._candidate = None
        self._disconnect()

    def close(self) -> None:
        """Leaves the process group; peers that still wait for this rank fail at once."""
        self._disconnect()

    def _part_from_leavers(self, plan: GenerationPlan, gang: Gang) -> Gang:
        """The transfer is over: the ranks that stay connect anew, the others are alone."""
        gang.barrier()
        self._disconnect()
        if not plan.leaves:
            self._gang = gang = Gang(plan, self._config.recipe.device_type, self._check, with_leavers=False)
        return gang

    def _settle(self, target_version: int, peers: list[Peer]) -> None:
        """Brings a rank that holds state to the target: finishes its pending step, or drops partial sums."""
        if self._committed is None:
            return
        if self._version == target_version - 1 and self._pending is not None:
            found = known_facts(peers, self._pending.step)
            if found is not None:
                norm, losses = found
                rows = StepRows.of(self._config, self._data, self._pending.step)
                self._pending.facts = self._facts(self._pending.step, rows, list(losses), norm)
                self._update(self._committed.state)
        if self._version != target_version:
            raise StateError(
                "VersionUnreachable",
                f"this rank is at version {self._version} and cannot reach {target_version}",
            )
        self._release_pending()

    def _forget(self) -> None:
        """State of another source replaces what is held: from here on this rank holds nothing until it
        commits."""
        self._committed = None
        self._candidate = None
        self._version = 0
        self._release_pending()

    def _connected(self) -> Gang:
        if self._gang is None:
            raise StateError("NotConnected", "this rank is connected to no generation")
        return self._gang

    def _disconnect(self) -> None:
        if self._gang is not None:
            self._gang.close()
            self._gang = None

    # -- the step

    def take_step(self, step: int) -> StepOutcome:
        """Runs the step of 0-based index `step`.

        PeerLost when a collective fails (see `holding`); NonFiniteLoss, on every rank, when a loss is not
        finite.
        """
        membership = self._committed
        if membership is None or membership.gang is not self._gang or self._version != step:
            raise StateError(
                "StepRefused", f"step index {step} cannot run on a rank at version {self._version}"
            )
        sections, gang = Sections(self._report), membership.gang
        sent_before = gang.sent_bytes
        self._release_pending()

        sections.enter("data", "lanes")
        rows = StepRows.of(self._config, self._data, step)
        shares = Shares.of(self._config, membership, rows)

        gradient_p, losses = self._reduction.run(step, rows, shares, membership, sections)
        self._pending = Pending(step, gradient_p)
        self._pending.facts = self._agree(membership, rows, shares, losses)

        sections.enter("other", "commit")
        gang.barrier()

        sections.enter("optimizer", "update")
        facts = self._pending.facts
        self._update(membership.state)

        sections.enter("gather", "gather")
        adoption.gather_parameters(gang, membership.held, self._trained.flat)
        sections.leave("idle")
        return StepOutcome(
            step=step + 1,
            lanes=tuple(
                self._work.outcome(rows, lane, facts.lane_losses[lane])
                for lane in shares.by_rank[membership.plan.rank]
            ),
            loss=facts.loss,
            grad_norm=facts.grad_norm,
            learning_rate=facts.learning_rate,
            seconds=sections.total,
            sections=sections.seconds,
            sent_bytes=gang.sent_bytes - sent_before,
        )

    def outcomes_since(self, step: int) -> list[StepOutcome]:
        """The latest steps with index >= `step`, with the lanes of ALL ranks.

        To be reported after a regroup: a lane's report may have died with its rank, or its step was
        finished by `adopt`. Reporting a lane twice is harmless, the numbers are equal. Of steps this rank was
        not there for it can say what they consumed, which depends on the data alone; their losses are NaN.
        """
        known = self._history.since(step)
        missed = range(step, known[0].step if known else self._version)
        return [
            *(self._work.told_again(missing, None) for missing in missed),
            *(self._work.told_again(facts.step, facts) for facts in known),
        ]

    def stage(self, step: int, trigger: str) -> Staged | None:
        """Copies the owned blocks into a file in memory; None when this rank owns nothing.

        `step` counts steps done and must be the version held.
        """
        membership = self._committed
        if membership is None or step != self._version:
            raise StateError("StageRefused", f"step {step} cannot be staged at version {self._version}")
        self._report("stage", 0.0)
        staged = stage_owned(membership.state, membership.plan, step, trigger, self._config)
        self._report("idle", 0.0)
        return staged

    def snapshot(self, step: int) -> Snapshot:
        """Copies blocks into memory for the agent to keep; all ranks of the generation together.

        PeerLost when a peer goes; StateError when this rank has no memory for it.
        """
        membership, work = self._committed, self._snapshots
        if membership is None or work is None or step != self._version:
            raise StateError("SnapshotRefused", f"no snapshot of step {step} at version {self._version}")
        self._report("stage", 0.0)
        snapshot = work.take(membership.state, membership.gang, step, self.recipe_sha256)
        self._report("idle", 0.0)
        return snapshot

    def _agree(
        self, membership: Membership, rows: StepRows, shares: Shares, losses: list[float]
    ) -> StepFacts:
        """Everybody's square sums and lane losses in one exchange: the same norm and the same verdict on
        all ranks."""
        assert self._pending is not None
        plan, held = membership.plan, membership.held
        sums = scale_and_square(self._pending.gradient_p, membership.mine, 1.0 / rows.trained_tokens)
        payload = torch.cat([sums, torch.tensor(losses, dtype=torch.float64)])
        parts = membership.gang.gather(payload.to(self._trained.flat.device), payload_sizes(held, shares))
        square_sums = [0.0] * plan.block_map.blocks
        lane_losses = [0.0] * len(rows.lanes)
        for one, lanes, part in zip(held, shares.by_rank, parts, strict=True):
            numbers = part.tolist()
            for block, value in zip(one.owned, numbers, strict=False):
                square_sums[block] = value
            for lane, value in zip(lanes, numbers[len(one.owned) :], strict=True):
                lane_losses[lane] = value
        return self._facts(self._pending.step, rows, lane_losses, norm_of(square_sums))

    def _facts(self, step: int, rows: StepRows, lane_losses: list[float], norm: float) -> StepFacts:
        for lane, loss in enumerate(lane_losses):
            if not math.isfinite(loss):
                raise NonFiniteLoss(step, lane, self._work.outcome(rows, lane, loss).example_ids)
        if not math.isfinite(norm):
            raise UserError(
                "GradientNonFinite",
                f"The gradient of step {step + 1} is not finite; lower the learning rate.",
            )
        total = 0.0
        for loss in lane_losses:
            total += loss
        rate = learning_rate(self._config.spec["train"], step, self._config.total_steps)
        return StepFacts(
            step=step,
            lane_losses=tuple(lane_losses),
            grad_norm=norm,
            loss=total / rows.trained_tokens,
            learning_rate=rate,
        )

    def _update(self, state: BlockState) -> None:
        """Applies the pending step to every held block; no collective, so nothing can interrupt it
        halfway."""
        assert self._pending is not None and self._pending.facts is not None
        facts, train = self._pending.facts, self._config.spec["train"]
        adamw = AdamW.of(train, facts.learning_rate, updates=self._version + 1)
        state.update(
            adamw, self._pending.gradient_p, clip_factor(facts.grad_norm, float(train["maxGradNorm"]))
        )
        self._version += 1
        self._history.add(facts)
        self._release_pending()

    def _release_pending(self) -> None:
        self._pending = None
        self._reduction.reclaim()
