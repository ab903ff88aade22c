"""Graphs of a model after the steps of a recipe, built once and kept in build/bench."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import BUILD, THREADS


def built(model: str, name: str, steps: str, parts: Any) -> Path:
    """The folder of a case: `steps` are lines of a recipe, `parts` the rows to calibrate and to select with."""
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import export_graphs, runnable
    from penjing.pipeline.steps import Bench, Calibration, run_steps
    from penjing.recipe import parse_recipe
    from penjing.runtimes.engine import choose_engine
    from penjing.values import silent

    place = BUILD / name.replace(" ", "-")
    if (place / "penjing.json").is_file():
        return place
    print(f"building {name}", file=sys.stderr)
    opened = open_model(model)
    recipe = parse_recipe(f"version: 1\nsteps:\n{steps}", name)
    calibration = Calibration((), (), name, (parts.calibrate, parts.select)).read_by(opened)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), choose_engine("openvino", THREADS, cache=False))
        opened, _ = run_steps(opened, recipe, calibration, bench, silent)
        export_graphs(opened, place, name, silent)
        runnable(opened, place)
    return place
