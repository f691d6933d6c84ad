"""Writes one save as agents do, for the checkpoint-manager's tests: order on stdin, manifests on stdout.

Element i of kind k has the bits (i * 2654435761 + k * 40503 + salt) mod 2**32; TypeScript computes them too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import numpy as np

from shardwright_trainer.files.checkpoint import stage_blocks, write_packs

KINDS = ("exp_avg", "exp_avg_sq", "master")


def bits(elements: int, kind: int, salt: int) -> Any:
    index = np.arange(elements, dtype=np.uint64)
    mixed = (index * 2654435761 + kind * 40503 + salt) & 0xFFFFFFFF
    return mixed.astype(np.uint32)


def main() -> None:
    order = json.load(sys.stdin)
    elements, size = order["elements"], order["block_elements"]
    blocks = -(-elements // size)
    state = {}
    for number, kind in enumerate(KINDS):
        padded = np.zeros(blocks * size, np.uint32)
        padded[:elements] = bits(elements, number, order["salt"])
        state[kind] = padded
    for writer, owned in order["writers"].items():
        held = {kind: {b: state[kind][b * size : (b + 1) * size] for b in owned} for kind in KINDS}
        with tempfile.TemporaryDirectory() as folder:
            staged = os.path.join(folder, "staged")
            index_json, _ = stage_blocks(staged, held, elements=elements, block_elements=size)
            prepared = write_packs(
                staged_path=staged,
                index_json=index_json,
                schema_json=order["schema_json"],
                directory=order["directory"],
                writer=int(writer),
                incarnation=order.get("incarnation", 0),
                save_id=order["save_id"],
                step=order["step"],
                generation=order["generation"],
                crc_block_bytes=order["crc_block_bytes"],
            )
        print(json.dumps({"writer": int(writer), **asdict(prepared)}), flush=True)


if __name__ == "__main__":
    main()
