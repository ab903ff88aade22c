"""The commands and the Python of the README, run as they are printed, on tiny models of the same names."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from penjing.apps.confidence import builtin_folder
from penjing.scenes.scene import draw, imagine
from tiny_speech import RATE_HZ, voice

README = Path(__file__).parents[2] / "README.md"
EASIER = {"wer<=+0.01": "wer<=+5", "size_bytes<=30%": "size_bytes<=90%"}
"""A model of random weights knows no words, and one of 60 kB is mostly graph."""


def block(language: str, beginning: str) -> str:
    """The first block of code of a language that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf8"), re.S | re.M)
    return next(text for text in blocks if text.startswith(beginning))


def add_chat(manifest: Path) -> None:
    """Give an artifact the chat template that a tiny model has not."""
    document = json.loads(manifest.read_text(encoding="utf8"))
    document["settings"]["chat"] = {
        "begin": "",
        "answer": " ",
        "again": " ",
        "end": " it",
        "system": None,
        "special": True,
    }
    manifest.write_text(json.dumps(document), encoding="utf8")


@pytest.fixture
def workplace(
    whisper_folder, sound_folder, picture_artifact, language_artifact, encoder_artifact, tmp_path, monkeypatch
) -> Path:
    """A folder with the models and files that the README names."""
    shutil.copytree(whisper_folder, tmp_path / "openai" / "whisper-base")
    shutil.copytree(sound_folder, tmp_path / "speech")
    shutil.copytree(picture_artifact, tmp_path / "clip-small")
    shutil.copytree(language_artifact, tmp_path / "smollm-small")
    shutil.copytree(encoder_artifact, tmp_path / "minilm-small")
    shutil.copytree(builtin_folder() / "knowledge", tmp_path / "knowledge")
    add_chat(tmp_path / "smollm-small" / "penjing.json")
    soundfile.write(tmp_path / "call.wav", voice(1.5), RATE_HZ)
    (tmp_path / "calls").mkdir()
    shutil.copy(tmp_path / "call.wav", tmp_path / "calls")
    Image.new("RGB", (80, 60), "red").save(tmp_path / "bus.jpg")
    draw(imagine(1)).save(tmp_path / "scene.png")
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "bus.jpg", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_and_the_python_after_them(workplace, penjing, capfd, monkeypatch):
    commands = [line.split("#")[0] for line in block("", "penjing inspect").splitlines()]
    assert len(commands) == 15
    spoken = (voice(1.5) * 32767).astype("<i2").tobytes()
    for command in commands:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(spoken)))
        name, *arguments = shlex.split(command.rpartition(" | ")[2])
        assert name == "penjing"
        found = penjing(*[EASIER.get(part, part) for part in arguments], as_json=False)
        assert found.code == 0, f"{command}\n{found.err}"
        silent = "subtitles/" in arguments or "nothing found" in found.err  # random weights find nothing that is near
        assert found.out or silent, command
    assert [path.name for path in (workplace / "subtitles").iterdir()] == ["call.srt"]
    namespace: dict[str, object] = {}
    exec(block("python", "from pathlib"), namespace)  # the README's own words
    said = capfd.readouterr().out.strip()
    assert np.array(re.findall(r"-?\d\.\d+", said.splitlines()[-1]), float).shape == (2,)


def test_make_knows_the_two_commands():
    text = (README.parent / "Makefile").read_text(encoding="utf8")
    for line in block("", "make demo").splitlines():
        target = line.split()[1]
        assert re.search(rf"^{target}:.*##", text, re.M), target
