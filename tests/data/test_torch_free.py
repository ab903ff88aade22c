"""The data room loads neither torch nor transformers, even where both are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from penjing.data.audio import read_audio
from penjing.data.mel import ClapMel, WhisperMel
from penjing.data.shifts.augment import augmented_rows
from penjing.data.shifts.rows import shifted_rows
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.data.windows import windows

row = split(load_dataset("speech")).judge[0]
samples = read_audio(row.file)
assert windows(samples, 16000) == [(0, samples.size)]
WhisperMel({})(samples, 500)
ClapMel({})(read_audio(row.file, 48000))
print(sorted({"torch", "transformers", "datasets", "pyarrow", "scipy", "pandas"} & set(sys.modules)))
"""


@pytest.mark.shop
def test_speech_to_features_without_the_workshop() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"
