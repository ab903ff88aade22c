"""Where a launcher started several processes, one publishes and the others only help it to learn."""

from __future__ import annotations

import json

import pytest

import penjing
from penjing.pipeline import compress as room

STEPS = [
    {"method": "width", "neurons": 0.5, "towers": ["encoder"]},
    {"method": "distill", "steps": 2},
    {"method": "rtn"},
]


@pytest.mark.parametrize(("steps", "wanted"), [(STEPS, ["width", "distill"]), (STEPS[::2], [])])
def test_a_helper_runs_the_steps_until_the_last_that_learns(steps, wanted, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(room, "run_steps", lambda model, recipe, *rest: ran.append((recipe, rest)))
    recipe, told = tmp_path / "recipe.yaml", []
    recipe.write_text(json.dumps({"version": 1, "steps": steps}), encoding="utf8")
    document = penjing.compress(
        "pictures-dual-encoder", tmp_path / "out", data="pictures", recipe=recipe, tell=lambda *what: told.append(what)
    )
    ((found, (calibration, bench, _)),) = ran
    assert [step.method.name for step in found.steps] == wanted
    assert len(calibration.batches) > 0
    assert bench.folder == tmp_path / ".out.penjing.1" / "steps"
    assert document == {}
    assert told == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]
