"""A control plane by script: a real gRPC server that serves AgentService and does what a test says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as plan
from shardwright_trainer._proto.shardwright.v1.agent_service_pb2_grpc import (
    AgentServiceServicer,
    add_AgentServiceServicer_to_server,
)

TOKEN = "member-token"
PACKAGE = Path(__file__).resolve().parent.parent
WAIT_SECONDS = 60.0


class ControlPlane(AgentServiceServicer):
    """Hears one member. `heard` is everything it ever said, over all sessions."""

    def __init__(self, token: str = TOKEN) -> None:
        self._token = token
        self.heard: list[agent.SessionRequest] = []
        self.sessions = 0
        self.port = 0
        self._server: Any = None
        self._out: asyncio.Queue[agent.SessionResponse | None] = asyncio.Queue()
        self._news = asyncio.Condition()

    async def start(self) -> None:
        self._server = grpc.aio.server()
        add_AgentServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[agent.SessionResponse]:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self._token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such member")
        self.sessions += 1
        self._out = asyncio.Queue()
        reading = asyncio.ensure_future(self._read(requests))
        try:
            while (response := await self._out.get()) is not None:
                yield response
        finally:
            reading.cancel()

    async def _read(self, requests: Any) -> None:
        async for request in requests:
            async with self._news:
                self.heard.append(request)
                self._news.notify_all()

    def send(self, generation: int = 0, **body: Any) -> None:
        self._out.put_nowait(agent.SessionResponse(generation=generation, **body))

    async def wait(
        self, kind: str, matches: Callable[[Any], bool] = lambda _: True, after: int = 0
    ) -> agent.SessionRequest:
        """The first message of this kind, from the `after`-th message on."""

        def find() -> agent.SessionRequest | None:
            for request in self.heard[after:]:
                if request.WhichOneof("body") == kind and matches(getattr(request, kind)):
                    return request
            return None

        async with self._news:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._news.wait_for(lambda: find() is not None)
            except TimeoutError:
                kinds = [request.WhichOneof("body") for request in self.heard[after:]]
                raise AssertionError(f"no {kind} came; heard {kinds[-40:]}") from None
        found = find()
        assert found is not None
        return found

    def all(self, kind: str) -> list[agent.SessionRequest]:
        return [request for request in self.heard if request.WhichOneof("body") == kind]


async def start_agent(
    control: ControlPlane, work: Path, engine: str | None, **flags: str
) -> asyncio.subprocess.Process:
    """A real agent process, as the launcher starts it. engine None: the real one."""
    reading, writing = os.pipe()
    os.write(writing, TOKEN.encode())
    os.close(writing)
    arguments = {
        "--control-plane": f"127.0.0.1:{control.port}",
        "--job-uid": "01J",
        "--member": "m0",
        "--incarnation": "1",
        "--token-fd": str(reading),
        "--work-directory": str(work),
        "--slot": "0",
    }
    arguments |= {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    if engine is not None:
        arguments["--rank-engine"] = engine
    flat = [text for pair in arguments.items() for text in pair]
    path = os.pathsep.join([str(PACKAGE), str(PACKAGE / "tests")])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shardwright_trainer.agent.main",
        *flat,
        pass_fds=[reading],
        env={**os.environ, "PYTHONPATH": path, "TORCH_NCCL_X": "1"},
    )
    os.close(reading)
    return process


def job_spec(model: Path, data: Path, **train: Any) -> dict[str, Any]:
    """An expanded spec as the control plane sends it."""
    return {
        "model": {"source": f"file://{model}", "revision": None, "acceptLicence": False},
        "data": {
            "train": {"source": f"file://{data}", "rowsMax": None},
            "validation": None,
            "test": None,
            "format": "auto",
            "map": {},
            "template": "base",
            "mask": "auto",
            "packing": None,
            "truncation": {"policy": "truncate", "maxTokens": None},
            "allowSmall": True,
        },
        "task": "causal",
        "tuning": {
            "method": "lora",
            "r": 4,
            "alpha": 8,
            "dropout": 0,
            "targets": "all-linear",
            "rslora": False,
        },
        "train": {
            "epochs": 1,
            "maxSteps": 12,
            "batchSize": 2,
            "learningRate": 1e-3,
            "schedule": "constant",
            "warmupSteps": None,
            "warmupRatio": 0,
            "finalRateRatio": 0,
            "weightDecay": 0,
            "maxGradNorm": 1,
            "optimizer": "adamw",
            "betas": [0.9, 0.999],
            "epsilon": 1e-8,
            "maxLength": None,
            "seed": 0,
            "lanes": None,
            "microBatch": None,
            "gradientCheckpointing": "none",
            **train,
        },
    }


def load_of(spec: dict[str, Any], work: Path, ranks: int) -> agent.Load:
    recipe = plan.Recipe(
        compute_dtype="fp32",
        wire_dtype="fp32",
        lanes_count=2,
        micro_batches_per_lane_count=1,
        micro_batch_rows_count=1,
        row_tokens_count=0,
        cross_entropy_rows_count=64,
        attention="sdpa",
        threads_per_rank_count=1,
        optimizer_implementation="single",
        gradient_checkpointing="none",
        device_type="cpu",
    )
    return agent.Load(
        job_name="tiny",
        spec_json=json.dumps(spec),
        plan=plan.Plan(
            zero_stage=1, ranks_count=ranks, block_elements_count=4, copies_count=1, recipe=recipe
        ),
        work_directory=str(work),
        ranks_count=ranks,
    )
