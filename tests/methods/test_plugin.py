"""The method of CONTRIBUTING.md, word for word, in an installed package: found, refused by nothing, contract kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import penjing
from tiny_encoders import save_encoder

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"
"""A folder as pip leaves it: a module, and metadata with an entry point of the group `penjing.methods`."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the package is installed."""
    source = str(Path(penjing.__file__).parents[1])
    paths = [str(PLUGIN), source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment,
        cwd=ROOT,
    )


def test_the_page_shows_the_very_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    assert program == (PLUGIN / "penjing_power_of_two.py").read_text(encoding="utf8")
    entry = (PLUGIN / "penjing_power_of_two-0.1.0.dist-info" / "entry_points.txt").read_text(encoding="utf8")
    assert entry.splitlines()[-1].replace("= ", '= "') + '"' in text


def test_an_installed_method_is_listed_and_published(tmp_path):
    listed = json.loads(python("-m", "penjing", "methods", "--json").stdout)
    assert "power_of_two" in str(listed)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: power_of_two}]\n", encoding="utf8")
    model, out = save_encoder(tmp_path / "model"), tmp_path / "out"
    done = python("-m", "penjing", "compress", str(model), "-o", str(out), "--recipe", str(recipe), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["published"]
    assert {site["method"] for site in document["coverage"] if not site["skipped"]} == {"power_of_two"}


@pytest.mark.slow
def test_the_method_keeps_the_contract():
    done = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/methods/test_contract.py", "-k", "power_of_two"
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b\d+ passed", done.stdout)
