"""The built-in sets: what they hold, and what their folders promise to other tools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest

from penjing.data.audio import audio_length, read_audio
from penjing.data.row import DataSet, Row
from penjing.data.source import BUILTIN, load_dataset
from penjing.data.split import split

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "src" / "penjing" / "data" / "builtin" / "speech"


@pytest.fixture(scope="module")
def speech() -> DataSet:
    return load_dataset("speech")


def seconds(row: Row) -> float:
    assert row.file is not None
    frames, rate_hz = audio_length(row.file)
    return frames / rate_hz


@pytest.mark.shop
def test_speech_has_a_hundred_clips_in_three_parts(speech: DataSet) -> None:
    assert len(speech.rows) == 100
    assert Counter(speech.parts.values()) == {"judge": 60, "select": 20, "calibrate": 20}
    parts = split(speech)
    assert [len(part) for part in parts] == [20, 20, 60]


@pytest.mark.shop
@pytest.mark.parametrize("name", BUILTIN)
def test_rows_say_where_they_come_from(name: str) -> None:
    assert all(row.fields.get("source") for row in load_dataset(name).rows)


@pytest.mark.shop
def test_one_voice_speaks(speech: DataSet) -> None:
    assert {(row.fields["source"], row.fields["speaker"]) for row in speech.rows} == {("synthetic voice", "Piper joe")}


@pytest.mark.shop
def test_speech_is_small_and_of_many_lengths(speech: DataSet) -> None:
    lengths = [seconds(row) for row in speech.rows]
    assert 1 <= min(lengths) < 2.5
    assert 9 < max(lengths) <= 13
    assert sum(length >= 8 for length in lengths) >= 15
    assert sum(path.stat().st_size for path in SPEECH.iterdir()) <= 2_000_000


@pytest.mark.shop
def test_lengths_are_spread_evenly_over_the_parts(speech: DataSet) -> None:
    means = [mean(seconds(row) for row in part) for part in split(speech)]
    assert max(means) - min(means) < 0.5


@pytest.mark.shop
def test_every_clip_can_be_heard_and_has_its_sentence(speech: DataSet) -> None:
    sentences = (ROOT / "scripts" / "speech_sentences.txt").read_text(encoding="utf8").splitlines()
    assert [row.fields["text"] for row in speech.rows] == sentences
    assert len(set(sentences)) == 100
    assert all(3 <= len(sentence.split()) <= 25 for sentence in sentences)
    for row in speech.rows[::10]:
        assert row.file is not None
        samples = read_audio(row.file)
        assert 0.5 < abs(samples).max() < 1.0
        assert abs(samples[:1600]).max() < 0.05


@pytest.mark.shop
def test_pictures_are_a_set_too() -> None:
    data = load_dataset("pictures")
    assert {row.media for row in data.rows} == {"image"}
    assert [name for name in sorted(BUILTIN) if not name.startswith("calibration-")] == [
        "pictures", "scenes", "speech", "text",
    ]  # fmt: skip


@pytest.mark.shop
def test_speech_keeps_the_audiofolder_convention() -> None:
    lines = [json.loads(line) for line in (SPEECH / "metadata.jsonl").read_text(encoding="utf8").splitlines()]
    assert {tuple(line) for line in lines} == {("file_name", "text", "part")}
    assert [line["file_name"] for line in lines] == sorted(path.name for path in SPEECH.glob("*.ogg"))


@pytest.mark.shop
def test_text_judges_by_novels_that_no_step_has_read() -> None:
    found = load_dataset("text")
    parts = split(found)
    assert found.name == "text"
    assert [len(part) for part in parts] == [80, 20, 60]
    novels = [{row.id.rpartition("-")[0] for row in part} for part in parts]
    assert novels[2] == {"pride-and-prejudice", "persuasion"}
    assert not novels[2] & (novels[0] | novels[1])
    assert all(1500 < len(row.fields["text"]) < 4000 for part in parts for row in part)
    assert len({row.fields["text"] for row in found.rows}) == 160
