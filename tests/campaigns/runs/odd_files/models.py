"""Models as safetensors."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from odd_files.changes import Change, content

MODEL = "stages/pretrain.safetensors"


def model(header: bytes, body: bytes = b"", length: int = -1) -> Change:
    return content(MODEL, lambda old: struct.pack("<Q", len(header) if length < 0 else length) + header + body)


def tensors(**told: Any) -> bytes:
    return json.dumps(told).encode()


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MODELS: dict[str, Change] = {
    "model with a header of 2^63 bytes": model(tensors(weight=F32), bytes(8), 2**63),
    "model with a header of brackets": model(b"[" * 100_000),
    "model with tensors over each other": model(tensors(weight=F32, other=F32), bytes(8)),
    "model with a gap": model(tensors(weight=F32, other=F32 | {"data_offsets": [80, 88]}), bytes(88)),
    "model beyond its end": model(tensors(weight=F32 | {"shape": [10**9], "data_offsets": [0, 4 * 10**9]}), bytes(8)),
    "model without an area": model(tensors(weight=F32 | {"shape": [0, 10**12], "data_offsets": [0, 0]})),
    "model of other names": model(tensors(**{"<b>\0": F32}), bytes(8)),
    "model of other numbers": model(tensors(weight=F32 | {"dtype": "F8_E4M3", "data_offsets": [0, 2]}), bytes(2)),
    "model of nothing": model(b"{}"),
    "model of no numbers": model(tensors(weight=F32), struct.pack("<ff", np.nan, np.inf)),
    "an empty model": content(MODEL, lambda old: b""),
}
