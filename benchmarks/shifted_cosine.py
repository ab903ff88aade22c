"""How far a compressed encoder's vectors turn from its source's, on clean and on shifted rows, in both engines.

usage: shifted_cosine.py MODEL ARTIFACT --data SET [--rows N]

The rows are the test part of the data set, once as they are and once under one corruption each of the gate.
A dual encoder is compared on its pictures or sounds, a text encoder on texts. Networks with random weights have no task
to be judged by, but their vectors can be compared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timing import THREADS, write

ENGINES = ("onnxruntime", "openvino")


def vectors(name: str, engine_name: str, parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Unit vectors of every part's rows by one model or artifact, (rows, width) each."""
    from penjing.pipeline.evaluate import open_any
    from penjing.runtimes.engine import choose_engine

    with tempfile.TemporaryDirectory() as scratch:
        engine = choose_engine(engine_name, THREADS, cache=False)
        runner = open_any(name, engine, Path(scratch), lambda *progress: None).runner
        return [runner.embed_rows(rows) for rows in parts]


def main() -> None:
    """Embed all rows by both and print cosines: mean and least, clean and shifted."""
    from penjing.artifact.manifest import read_manifest
    from penjing.data.source import load_dataset
    from penjing.judge.shift import shift_test_rows
    from penjing.pipeline.job import split_parts

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("artifact")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args()
    parts = split_parts(load_dataset(arguments.data), None)
    assert parts is not None
    rows = parts.judge[: arguments.rows]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        task = read_manifest(Path(arguments.artifact))["task"]
        shifted = [one.row for one in shift_test_rows(task, rows, 0, Path(folder)).rows]
        for engine in ENGINES:
            both = [vectors(name, engine, (rows, shifted)) for name in (arguments.model, arguments.artifact)]
            for kind, before, after in zip(("clean", "shifted"), *both, strict=True):
                cosines = (before * after).sum(1)
                found[f"{engine}, {kind}"] = {"mean": float(cosines.mean()), "least": float(cosines.min())}
    write(f"shifted-cosine-{Path(arguments.model).name}", {"rows": len(rows), "cosine": found})


if __name__ == "__main__":
    main()
