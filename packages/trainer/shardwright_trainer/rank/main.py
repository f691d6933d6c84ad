"""One rank process, started by the agent: `python -m shardwright_trainer.rank.main`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.data.packing import PreparedData
from shardwright_trainer.plan.wire import layout_to_pb, rank_config_from_pb
from shardwright_trainer.rank.errors import NonFiniteLoss, PeerLost, UserError
from shardwright_trainer.rank.link import LinkClosed, RankLink, leave_at_once
from shardwright_trainer.rank.loop import run
from shardwright_trainer.rank.membership import Membership
from shardwright_trainer.report import RankReport

ENGINE = "shardwright_trainer.rank.step:Engine"
EXIT_FAULT = 1


def main() -> int:
    """Entry of the process; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--local-rank", type=int, required=True)
    parser.add_argument("--engine", default=ENGINE, help=argparse.SUPPRESS)  # tests give one without torch
    arguments = parser.parse_args()
    channel = RankLink(arguments.socket, on_closed=leave_at_once)
    report = RankReport(channel, arguments.local_rank)
    try:
        _serve(channel, report, arguments.local_rank, arguments.engine)
    except LinkClosed:
        return EXIT_FAULT
    except Exception as error:  # the process ends with the reason its agent will tell
        traceback.print_exc()
        cause, code, sentence = classify(error)
        report.fault(cause, code, sentence)
        return EXIT_FAULT
    return 0


def _serve(channel: RankLink, report: RankReport, local_rank: int, engine_name: str) -> None:
    # 1. Say who connected. torch takes seconds to import: the data is prepared meanwhile.
    channel.send(link.RankMessage(hello=link.RankHello(local_rank=local_rank, pid=os.getpid())))
    report.beat_until_closed()
    report.phase("import", 0.0)
    make_engine = _engine_of(engine_name)
    report.phase("import", 1.0)
    # 2. Learn everything there is to know, and load.
    directive = channel.wait()
    if directive.WhichOneof("body") != "start":
        return
    config = rank_config_from_pb(directive.start)
    data = PreparedData.open(config.data_directory)
    engine = make_engine(config, data, report.phase)
    report.loaded(
        link.RankLoaded(
            layout=layout_to_pb(engine.layout), recipe_sha256=engine.recipe_sha256, lora_json=engine.lora_json
        )
    )
    # 3. Train, generation after generation, until told to stop.
    run(Membership(channel, engine, local_rank, os.getpid()), engine, report)
    report.close()
    engine.close()


def _engine_of(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    made: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return made


def classify(error: Exception) -> tuple[str, str, str]:
    """(cause, code, sentence) of an exception that ends a rank. Torch's own are told by their names."""
    if isinstance(error, NonFiniteLoss):
        return "nonfinite", error.code, error.sentence
    if isinstance(error, UserError):
        return "user_error", error.code, error.sentence
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom", "OutOfMemory", f"The rank ran out of memory: {error or 'allocation failed'}"
    if "DefaultCPUAllocator" in str(error):
        return "oom", "OutOfMemory", f"The rank ran out of memory: {str(error).splitlines()[0]}"
    if isinstance(error, PeerLost):
        return "communication", "PeerLost", str(error)
    if isinstance(error, ValueError):
        return "user_error", "InvalidInput", str(error)
    return "internal", type(error).__name__, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
