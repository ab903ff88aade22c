"""Memory is that of the child alone, whatever its parent holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penjing.judge import footprint
from penjing.judge.footprint import own_peak_bytes, peak_rss_bytes
from penjing.runtimes.engine import Engine

ENGINE = Engine("onnxruntime", 1)
BALLAST_BYTES = 600_000_000


@pytest.mark.skipif(not footprint.STATUS.is_file(), reason="the system has no /proc")
def test_a_small_model_stays_small_in_a_fat_parent(speech_artifact):
    ballast = np.ones(BALLAST_BYTES, np.uint8)
    grown = own_peak_bytes()
    measured = peak_rss_bytes(speech_artifact, ENGINE)
    assert grown > BALLAST_BYTES == ballast.nbytes
    assert measured is not None
    assert 20e6 < measured < 400e6


@pytest.mark.skipif(not footprint.STATUS.is_file(), reason="the system has no /proc")
def test_memory_that_was_given_back_counts():
    code = "import penjing.judge.footprint as f; a = bytearray(200_000_000); del a; print(f.own_peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 200_000_000


def test_systems_without_proc(monkeypatch, tmp_path):
    monkeypatch.setattr(footprint, "STATUS", tmp_path / "none")
    assert own_peak_bytes() > 10_000_000


def test_proc_without_a_peak(monkeypatch, tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  100 kB\n")
    monkeypatch.setattr(footprint, "STATUS", tmp_path / "status")
    assert own_peak_bytes() > 10_000_000
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  100 kB\n")
    assert own_peak_bytes() == 100 * 1024


def test_a_child_that_fails_measures_nothing(tmp_path):
    assert peak_rss_bytes(tmp_path, ENGINE) is None


def test_a_child_that_hangs_measures_nothing(monkeypatch):
    def hang(*args, **options):
        raise subprocess.TimeoutExpired(args[0], options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert peak_rss_bytes(Path("artifact"), ENGINE) is None
