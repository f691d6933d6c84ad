"""Weights between fp32 and the 16-bit formats, rounding to nearest even, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.swc_errors import CheckpointError

FLOATS = ("F32", "BF16", "F16", "F64")
NAMED = {"fp32": "F32", "bf16": "BF16"}


def to_fp32(data: Any, dtype: str) -> npt.NDArray[np.float32]:
    """Stored bytes as fp32 values."""
    if dtype == "BF16":
        return (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    numpy_dtypes = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
    if dtype not in numpy_dtypes:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: a weight of dtype {dtype} cannot be cast")
    return np.frombuffer(data, dtype=numpy_dtypes[dtype]).astype(np.float32)


def from_fp32(values: npt.NDArray[np.float32], dtype: str) -> bytes:
    """fp32 values as stored bytes; bf16 rounds to nearest, ties to even, and keeps NaN a NaN."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        quiet = (bits >> 16) | 0x40
        return np.where(np.isnan(values), quiet, rounded).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).tobytes()
