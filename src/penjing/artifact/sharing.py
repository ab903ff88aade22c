"""Tables that several graphs read, stored once: their bytes move into one file that all of the graphs name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

SHARED = "shared.onnx_data"
SMALLEST_BYTES = 4096
"""What is smaller is not worth a look into a second file."""
PAGE_BYTES = 4096
"""Engines map the file into memory; a tensor begins where a page does."""


def share_tables(paths: Sequence[Path]) -> int:
    """Store what at least two of these graphs hold byte by byte once; returns the bytes saved.

    The table of words that embeds in one graph is the output head of another. An engine that opens either graph reads
    it from `shared.onnx_data` in the same folder, which is not written where graphs have nothing in common.
    """
    if len(paths) < 2:
        return 0
    graphs = {path: onnx.load(str(path)) for path in paths}
    owners: dict[str, set[Path]] = {}
    for path, graph in graphs.items():
        for key, _ in _tables(graph):
            owners.setdefault(key, set()).add(path)
    common = {key for key, found in owners.items() if len(found) > 1}
    if not common:
        return 0
    offsets: dict[str, int] = {}
    saved = 0
    with (paths[0].parent / SHARED).open("wb") as stream:
        for path, graph in graphs.items():
            for key, table in _tables(graph):
                if key not in common:
                    continue
                data = table.raw_data
                saved += len(data)
                if key not in offsets:
                    stream.write(bytes(-stream.tell() % PAGE_BYTES))
                    offsets[key] = stream.tell()
                    stream.write(data)
                    saved -= len(data)
                _point(table, offsets[key], len(data))
            if any(path in owners[key] for key in common):
                onnx.save(graph, str(path))
    return saved


def _tables(graph: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Large matrices with a hash of their bytes; shape and type do not count."""
    for table in graph.graph.initializer:
        if len(table.dims) > 1 and len(table.raw_data) >= SMALLEST_BYTES:
            yield hashlib.sha256(table.raw_data).hexdigest(), table


def _point(table: onnx.TensorProto, offset: int, length: int) -> None:
    """Let an initializer name its place in the shared file instead of holding its bytes."""
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", SHARED), ("offset", offset), ("length", length)):
        entry = table.external_data.add()
        entry.key, entry.value = key, str(value)
