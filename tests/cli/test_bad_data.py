"""Data that cannot be used: refused before any work, named by file and line, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from tiny_speech import RATE_HZ, sound

Breaks = Callable[[Path], object]


def rows(edit: Callable[[list[dict[str, str]]], object]) -> Breaks:
    """Change the rows of metadata.jsonl."""

    def change(folder: Path) -> None:
        path = folder / "metadata.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()]
        edit(found)
        path.write_text("".join(json.dumps(row) + "\n" for row in found))

    return change


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def planted(folder: Path) -> None:
    """The first clip, which calibrates, once more among the judged ones, in another format."""
    soundfile.write(folder / "again.flac", soundfile.read(folder / "0.wav", dtype="int16")[0], RATE_HZ)
    again = lambda found: found.append({**found[0], "file_name": "again.flac", "part": "judge"})  # noqa: E731
    rows(again)(folder)


def silent(folder: Path) -> None:
    soundfile.write(folder / "3.wav", sound(1)[:0], RATE_HZ)


BAD: dict[str, tuple[Breaks, str, str]] = {
    "missing": (shutil.rmtree, "no such data", "give a folder"),
    "empty": (emptied, "is empty", "put images or sounds and a metadata.jsonl into it"),
    "no rows": (lambda folder: (folder / "metadata.jsonl").write_text(""), "has no rows", "an empty set"),
    "not JSON": (lambda folder: (folder / "metadata.jsonl").write_text("{]"), "metadata.jsonl, line 1", ""),
    "missing file": (
        lambda folder: (folder / "2.wav").unlink(), "metadata.jsonl, line 3: no such file: 2.wav", "should be in",
    ),
    "no column": (rows(lambda found: [row.pop("file_name") for row in found]), "no column 'file_name'", "it has"),
    "not a sound": (lambda folder: (folder / "3.wav").write_text("words"), "3.wav is not a sound", "give WAV"),
    "zero length": (silent, "3.wav has no samples", "leave it out"),
    "zero bytes": (lambda folder: (folder / "3.wav").write_bytes(b""), "3.wav is empty (0 bytes)", "leave it out"),
    "no answer": (rows(lambda found: found[2].pop("text")), "row '2.wav' has no 'text'", "judged by the column 'text'"),
    "one row in two parts": (planted, "rows '0.wav' (calibrate) and 'again.flac' (judge) have the same content", "rem"),
    "nothing to judge": (rows(lambda found: found.__delitem__(slice(2, None))), "has no rows to judge", "give more"),
}  # fmt: skip


@pytest.fixture
def data(sound_folder, tmp_path) -> Path:
    return Path(shutil.copytree(sound_folder, tmp_path / "sounds"))


@pytest.mark.parametrize("name", BAD)
def test_bad_data(name, data, whisper_folder, tmp_path, penjing, untouched):
    breaks, message, hint = BAD[name]
    breaks(data)
    untouched()
    said = penjing("compress", whisper_folder, "-o", tmp_path / "out", "--data", data).check_refused()
    assert message in said[0]
    assert hint in said[1]
    untouched()


def test_pictures_for_a_model_that_hears(whisper_folder, picture_folder, tmp_path, penjing, untouched):
    untouched()
    found = penjing("compress", whisper_folder, "-o", tmp_path / "out", "--data", picture_folder)
    message, hint = found.check_refused()
    assert message.endswith("has no audio")
    assert hint == "this model is fed with audio files"
    untouched()


def test_sounds_for_a_model_that_sees(sound_folder, tmp_path, penjing, untouched):
    untouched()
    found = penjing("compress", "pictures-dual-encoder", "-o", tmp_path / "out", "--data", sound_folder)
    assert found.check_refused() == ("row '0.wav' has no image", "this model is fed with image files")
    untouched()


def test_a_picture_that_is_none(picture_folder, tmp_path, penjing, untouched):
    data = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    broken = next(data.glob("*.png"))
    broken.write_text("words")
    untouched()
    message, _ = penjing("compress", "pictures-dual-encoder", "-o", tmp_path / "out", "--data", data).check_refused()
    assert message == f"{broken} is not an image"
    untouched()


def test_a_set_of_the_hub_while_offline(whisper_folder, tmp_path, penjing, untouched):
    untouched()
    found = penjing("compress", whisper_folder, "-o", tmp_path / "out", "--data", "nobody/speech")
    assert found.check_refused()[0].startswith("nobody/speech")
    untouched()


def test_statistics_of_an_architecture_without_a_front_end(tmp_path, sound_folder, penjing, untouched):
    from tiny_models import TINY

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: static_int8}]\n")
    model = TINY["ast"](tmp_path / "ast")
    untouched()
    found = penjing("compress", model, "-o", tmp_path / "out", "--data", sound_folder, "--recipe", recipe)
    message, hint = found.check_refused()
    assert message == "this architecture has no data front end: its folder holds no tokenizer"
    assert "compress without data" in hint
    untouched()


def test_evaluate_refuses_another_task(speech_artifact, sound_folder, penjing):
    found = penjing("evaluate", speech_artifact, "--data", sound_folder, "--task", "dual-encoder")
    message, hint = found.check_refused()
    assert message.endswith("does speech-seq2seq, not dual-encoder")
    assert hint == "leave --task away"


def test_evaluate_refuses_pictures_for_sounds(speech_artifact, picture_folder, penjing):
    assert penjing("evaluate", speech_artifact, "--data", picture_folder).check_refused()[0].endswith("has no audio")


def test_evaluate_needs_a_task(tmp_path, sound_folder, penjing):
    from tiny_models import TINY

    message, _ = penjing("evaluate", TINY["bert_masked"](tmp_path / "bert"), "--data", sound_folder).check_refused()
    assert message == "BertForMaskedLM has no task that can be judged yet"
