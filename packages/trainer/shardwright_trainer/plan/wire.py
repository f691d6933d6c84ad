"""Protobuf messages ↔ the dataclasses of plan/config.py. The only module that knows both."""

from __future__ import annotations

import json
from collections.abc import Iterable

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as plan
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.plan.config import (
    BlockMap,
    BlockRun,
    CheckpointSource,
    Evidence,
    FlatLayout,
    FlatTensor,
    FreshSource,
    GenerationPlan,
    Holding,
    LaneRange,
    LiveSource,
    RankConfig,
    Recipe,
    Snapshot,
    SnapshotFile,
    SnapshotSource,
    Staged,
    StateSource,
    StepOutcome,
    TransferMove,
)


def recipe_from_pb(message: plan.Recipe) -> Recipe:
    """The recipe of a plan."""
    return Recipe(
        compute_dtype=message.compute_dtype,
        wire_dtype=message.wire_dtype,
        lanes=message.lanes_count,
        micro_batches_per_lane=message.micro_batches_per_lane_count,
        micro_batch_rows=message.micro_batch_rows_count,
        row_tokens=message.row_tokens_count,
        cross_entropy_rows=message.cross_entropy_rows_count,
        attention=message.attention,
        threads_per_rank=message.threads_per_rank_count,
        optimizer_implementation=message.optimizer_implementation,
        gradient_checkpointing=message.gradient_checkpointing,
        device_type=message.device_type,
        computed_tokens=message.computed_tokens or "all",
    )


def rank_config_from_pb(start: link.RankStart) -> RankConfig:
    """What a rank must know before it loads."""
    return RankConfig(
        job_name=start.job_name,
        spec=json.loads(start.spec_json),
        recipe=recipe_from_pb(start.plan.recipe),
        zero_stage=start.plan.zero_stage,
        block_elements=start.plan.block_elements_count,
        model_directory=start.model_directory,
        data_directory=start.data_directory,
        work_directory=start.work_directory,
        total_steps=start.data.total_steps,
        steps_per_epoch=start.data.steps_per_epoch,
    )


def layout_to_pb(layout: FlatLayout) -> plan.FlatLayout:
    """The flat space as the model really has it."""
    tensors = [plan.FlatTensor(fqn=t.fqn, shape=t.shape, begin=t.begin, end=t.end) for t in layout.tensors]
    return plan.FlatLayout(tensors=tensors, elements_count=layout.elements, fingerprint=layout.fingerprint)


def layout_from_pb(message: plan.FlatLayout) -> FlatLayout:
    """The inverse of layout_to_pb."""
    tensors = tuple(
        FlatTensor(fqn=t.fqn, shape=tuple(t.shape), begin=t.begin, end=t.end) for t in message.tensors
    )
    return FlatLayout(tensors=tensors, elements=message.elements_count, fingerprint=message.fingerprint)


def block_map_from_pb(message: plan.BlockMap) -> BlockMap:
    """The block map; plan/block_map.py checks it."""
    runs = tuple(
        BlockRun(first_block=run.first_block, blocks=run.blocks_count, holders=tuple(run.holders))
        for run in message.runs
    )
    return BlockMap(
        elements=message.elements_count,
        block_elements=message.block_elements_count,
        blocks=message.blocks_count,
        runs=runs,
    )


def moves_from_pb(message: plan.TransferPlan) -> tuple[TransferMove, ...]:
    """Which blocks move from whom to whom."""
    return tuple(
        TransferMove(
            id=move.id,
            first_block=move.first_block,
            blocks=move.blocks_count,
            source_rank=move.source_rank,
            target_rank=move.target_rank,
            bytes=move.bytes,
        )
        for move in message.moves
    )


def source_from_pb(message: agent.StateSource) -> StateSource:
    """Where the state of a generation comes from. Raises ValueError for an unknown source."""
    match message.WhichOneof("source"):
        case "fresh":
            return FreshSource()
        case "live":
            moves = moves_from_pb(message.live.transfer)
            return LiveSource(target_version=message.live.target_version, moves=moves)
        case "snapshot":
            rest = message.snapshot
            moves = moves_from_pb(rest.transfer)
            return SnapshotSource(generation=rest.generation, step=rest.step, moves=moves)
        case "checkpoint":
            found = message.checkpoint
            return CheckpointSource(run_directory=found.run_directory, commit=found.commit, step=found.step)
        case unknown:
            raise ValueError(f"the state source is {unknown}; expected fresh, live, snapshot or checkpoint")


def generation_plan_from_pb(
    generation: int,
    rank: int,
    prepare: agent.PrepareGeneration,
    snapshots: Iterable[link.RankSnapshot] = (),
) -> GenerationPlan:
    """One generation as `rank` sees it. Raises ValueError for an unknown state source.

    snapshots: what the own agent keeps of the snapshot the generation starts from.
    """
    lanes = tuple(
        LaneRange(rank=lane.rank, begin=lane.lane_begin, end=lane.lane_end) for lane in prepare.lanes
    )
    return GenerationPlan(
        generation=generation,
        rank=rank,
        world_size=prepare.world_size,
        block_map=block_map_from_pb(prepare.block_map),
        lanes=lanes,
        source=source_from_pb(prepare.source),
        store_host=prepare.store_host,
        store_port=prepare.store_port,
        store_prefix=prepare.store_prefix,
        save_every_steps=prepare.save_every_steps_count,
        total_steps=prepare.total_steps,
        collective_timeout_seconds=prepare.collective_timeout_seconds,
        recorded_step=prepare.recorded_step,
        snapshot_every_steps=prepare.snapshot_every_steps_count,
        snapshot_map=block_map_from_pb(prepare.snapshot_map) if prepare.HasField("snapshot_map") else None,
        snapshot_files=tuple(
            SnapshotFile(
                generation=one.generation,
                step=one.step,
                path=one.path,
                index_json=one.index_json,
                recipe_sha256=one.recipe_sha256,
            )
            for one in snapshots
        ),
        leavers=prepare.leavers_count,
    )


def holding_to_pb(holding: Holding, local_rank: int, pid: int) -> agent.RankHolding:
    """What a rank process holds."""
    return agent.RankHolding(
        local_rank=local_rank,
        pid=pid,
        generation=holding.generation,
        rank=holding.rank,
        version=holding.version,
        pending=holding.pending,
    )


def evidence_to_pb(evidence: Evidence, rank: int) -> agent.RankEvidence:
    """What a rank really has after it joined a generation."""
    return agent.RankEvidence(
        rank=rank,
        owned_blocks_count=evidence.owned_blocks,
        replica_blocks_count=evidence.replica_blocks,
        optimizer_bytes=evidence.optimizer_bytes,
        received_bytes=evidence.received_bytes,
        sent_bytes=evidence.sent_bytes,
        version=evidence.version,
        owned_crc32c=evidence.owned_crc32c,
    )


def step_report_to_pb(outcome: StepOutcome, rank: int, rss_bytes: int) -> agent.StepReport:
    """One finished step of one rank."""
    lanes = [
        agent.LaneReport(
            lane=lane.lane,
            loss_sum=lane.loss_sum,
            example_ids=lane.example_ids,
            trained_tokens_count=lane.trained_tokens,
            processed_tokens_count=lane.processed_tokens,
        )
        for lane in outcome.lanes
    ]
    return agent.StepReport(
        step=outcome.step,
        rank=rank,
        lanes=lanes,
        loss=outcome.loss,
        grad_norm=outcome.grad_norm,
        learning_rate=outcome.learning_rate,
        seconds=outcome.seconds,
        sections=agent.SectionSeconds(**outcome.sections),
        rss_bytes=rss_bytes,
        sent_bytes=outcome.sent_bytes,
    )


def staged_to_pb(staged: Staged, writer: int) -> link.RankStaged:
    """A staged save of one writer."""
    return link.RankStaged(
        step=staged.step,
        trigger=staged.trigger,
        writer=writer,
        path=staged.path,
        index_json=staged.index_json,
        bytes=staged.bytes,
    )


def snapshot_to_pb(snapshot: Snapshot) -> link.RankSnapshot:
    """One rank's part of a snapshot."""
    return link.RankSnapshot(
        generation=snapshot.generation,
        step=snapshot.step,
        rank=snapshot.rank,
        path=snapshot.path,
        index_json=snapshot.index_json,
        bytes=snapshot.bytes,
        recipe_sha256=snapshot.recipe_sha256,
        complete_step=snapshot.complete_step,
    )
