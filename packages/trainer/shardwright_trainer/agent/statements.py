"""Messages to the control plane made from what the agent knows. Pure: facts in, message out."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer.agent.loading import Materials
from shardwright_trainer.agent.roster import Roster, Seat
from shardwright_trainer.agent.supervise import Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this member is; fixed for the life of the process."""

    job_uid: str
    member: str
    incarnation: int
    slot: int
    trainer_version: str
    torch_version: str


def hello(identity: Identity, load: agent.Load | None, roster: Roster, staged: list[int]) -> agent.Hello:
    """Who this member is and what its ranks hold. staged: steps that wait for a save to be decided."""
    device = "" if load is None else load.plan.recipe.device_type
    return agent.Hello(
        job_uid=identity.job_uid,
        member=identity.member,
        incarnation=identity.incarnation,
        pid=os.getpid(),
        node=os.uname().nodename,
        device_type=device or "cpu",
        device_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        cores_count=os.cpu_count() or 1,
        trainer_version=identity.trainer_version,
        torch_version=identity.torch_version,
        holdings=roster.holdings(),
        running_generation=roster.running_generation,
        loaded=roster.is_loaded,
        staged_steps=staged,
    )


def loaded(roster: Roster, materials: Materials) -> agent.Loaded:
    """Every rank has the model in memory."""
    facts = [slot.loaded for slot in roster.slots.values() if slot.loaded is not None]
    return agent.Loaded(
        layout=facts[0].layout,
        data=materials.facts,
        recipe_sha256=facts[0].recipe_sha256,
        ranks=roster.holdings(),
        external_json=materials.external_json,
        template_json=materials.template_json,
        lora_json=facts[0].lora_json,
        rss_bytes=sum(fact.rss_bytes for fact in facts),
    )


def generation_ready(roster: Roster, seat: Seat) -> agent.GenerationReady:
    """Every rank of the seat is connected and verified."""
    found = [slot.ready for slot in roster.of(seat.local_ranks) if slot.ready is not None]
    return agent.GenerationReady(
        ranks=[one.evidence for one in found], seconds=max((one.seconds for one in found), default=0.0)
    )


def beat(roster: Roster, now: float) -> agent.Beat:
    """Proof of life of every rank that has shown itself. now: the agent's monotonic clock."""
    return agent.Beat(
        ranks=[
            agent.RankBeat(
                local_rank=slot.local_rank,
                step=slot.step,
                phase=slot.phase,
                rss_bytes=slot.rss_bytes,
                silent_ms=max(0, int((now - slot.heard) * 1000)),
            )
            for slot in roster.slots.values()
            if slot.pid
        ]
    )


def rank_exit(ended: Exit) -> agent.RankExit:
    """A rank process ended."""
    return agent.RankExit(
        local_rank=ended.local_rank,
        pid=ended.pid,
        status=ended.status,
        cause=ended.cause,
        sentence=ended.sentence,
        respawning=ended.respawning,
    )
