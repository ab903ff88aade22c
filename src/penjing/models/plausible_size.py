"""Is a network as large as its config.json says? Found out before a byte of it is allocated.

transformers builds whatever a configuration asks for: a billion layers take for ever, and a table of 10¹² rows that the
weights do not have is allocated and filled with random numbers. Here sizes are compared with what the files hold, and
the network is first built without memory (on PyTorch's device `meta`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from penjing.errors import ModelError
from penjing.models.checkpoint import check_safetensors

COUNTS = re.compile(r"(^|_)(layers?|blocks|depths?)(_|$)")
"""Keys whose numbers say how often something is built."""
SIZES = re.compile(
    r"(size|sizes|dim|dims|width|widths|heads|channels|positions?|embeddings|experts|features|bins|labels)$"
)
"""Keys whose numbers are sides of tensors."""
FEWEST_COUNTED = 256
"""Layers that any model may have; a checkpoint of more tensors may have as many layers."""
LONGEST_SIDE = 2**27
STORED_SHARE = 16
"""Values that a network may have per byte of its files: tied and untrained ones are not stored."""
FREE_VALUES = 50_000_000


def check_plausible(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration whose counts and sides no checkpoint of this size can have.

    Args:
        folder: of the checkpoint.
        config: content of its config.json.

    Raises:
        ModelError: the first number that cannot be.
    """
    tensors = sum(len(check_safetensors(path)) for path in folder.glob("*.safetensors"))
    most = max(FEWEST_COUNTED, tensors)
    for key, value in _numbers(config):
        if COUNTS.search(key) and value > most:
            raise ModelError(
                f"{folder}: {key} in config.json is {value:,}, its files hold {tensors} tensors", hint=HINT
            )
        if SIZES.search(key) and value > LONGEST_SIDE:
            raise ModelError(f"{folder}: {key} in config.json is {value:,}: no tensor has such a side", hint=HINT)


HINT = "take config.json and weights from the same checkpoint"


def check_values(folder: Path, kind: type[Any], config: Any) -> None:
    """Refuse a network of far more values than its files have bytes; it is built without memory.

    Raises:
        ModelError: the network does not fit its files.
    """
    net: Any = None
    # What cannot be built here cannot be loaded either, or only by transformers' own way: that says why.
    with contextlib.suppress(Exception), torch.device("meta"):
        net = kind._from_config(config)
    if net is None:
        return
    values = sum(tensor.numel() for tensor in (*net.parameters(), *net.buffers()))
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if values > FREE_VALUES + STORED_SHARE * stored:
        raise ModelError(
            f"{folder}: config.json describes {values:,} values, its files have {stored:,} bytes", hint=HINT
        )


def _numbers(config: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration with the key that it stands under."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _numbers(value, str(name))
    elif isinstance(config, list):
        for value in config:
            yield from _numbers(value, key)
    elif isinstance(config, int) and not isinstance(config, bool):
        yield key, config
