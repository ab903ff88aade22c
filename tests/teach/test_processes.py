"""Two processes, each with half of every batch, learn as one does, from a teacher that is asked once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import teach_two


def curve(folder: Path) -> list[float]:
    (log,) = folder.glob("course-*/log.jsonl")
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("name", ["seedling", "clip"])
def test_two_processes_have_the_loss_curve_of_one(name, folder_of, tmp_path):
    checkpoint = str(folder_of(name))
    teach_two.learn(tmp_path / "one", checkpoint)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, teach_two.__file__, str(tmp_path / "two"), checkpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(curve(tmp_path / "one")) == 4
    assert curve(tmp_path / "two" / "0") == pytest.approx(curve(tmp_path / "one"), rel=2e-3)
    asked = [path.parent.name for path in (tmp_path / "two").glob("*/teacher-*")]
    assert asked == ["0"]  # the second reads what the first asked
