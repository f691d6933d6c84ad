"""The rendezvous store as a process of its own: `python -m shardwright_trainer.agent.store`.

It outlives every rank: a store inside rank 0 would die with it. Writes `{"pid", "port"}` when it listens and
ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

HOST = "127.0.0.1"


def main() -> int:
    """Entry of the process; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    ready = parser.add_mutually_exclusive_group(required=True)
    ready.add_argument("--ready-fd", type=int, help="descriptor that gets the ready line")
    ready.add_argument("--ready-file", help="file that gets it, written beside and renamed")
    arguments = parser.parse_args()

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())

    # Imported late: --help and errors need no torch.
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # The store waits for nobody: ranks come and go with the generations.
    store = TCPStore(HOST, arguments.port, is_master=True, wait_for_workers=False)
    line = json.dumps({"pid": os.getpid(), "port": store.port}) + "\n"
    if arguments.ready_file is None:
        with os.fdopen(arguments.ready_fd, "w") as file:
            file.write(line)
    else:
        path = Path(arguments.ready_file)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_text(line)
        beside.rename(path)
    ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
