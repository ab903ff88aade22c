"""Sets made to learn from: the same every time, and nothing in them that judges."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from penjing.data.audio import read_audio
from penjing.data.pictures import frozen, imagine
from penjing.data.source import load_dataset
from penjing.errors import DataError, MissingExtra
from penjing.scenes.holdout import held_out
from penjing.seedling.speech import ESPEAK_VOICES, HELD_OUT_VOICE, SpeechCache
from penjing.teach import rows
from penjing.teach import rows as room
from penjing.teach.rows import check_rows, count_rows, folder_of, rows_to_learn, sentences

SPOKEN = shutil.which("espeak-ng") is not None
speaks = pytest.mark.skipif(not SPOKEN, reason="espeak-ng is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "penjing"


@speaks
def test_scenes_are_as_the_built_in_set_has_them_and_none_of_them_is_in_it(cache):
    found = [*rows_to_learn("scenes-train:6")]
    assert len(found) == 30
    assert len({row.id for row in found}) == 30
    told = [row for row in found if "text" in row.fields]
    asked = [row for row in found if "question" in row.fields]
    assert len(told) == 6
    assert all(row.image and row.sound for row in told)
    assert sum(row.sound is not None for row in asked) == 6
    assert not any(held_out(row.fields["text"]) for row in told)
    judged = {row.fields.get("text") for row in load_dataset("scenes").rows}
    assert not judged & {row.fields["text"] for row in told}
    spoken = {row.fields["question"] for row in asked if row.sound}
    assert not any(held_out(text) for text in spoken)
    assert read_audio(told[0].sound, 16000).size > 16000


@speaks
def test_they_are_spoken_once_and_the_same_every_time(cache, monkeypatch):
    first = [*rows_to_learn("speech-train:8")]
    assert folder_of("speech-train", 8) == cache / "speech-train-8-v2"
    monkeypatch.setattr(rows, "Speaker", lambda: pytest.fail("it is spoken again"))
    assert [*rows_to_learn("speech-train:8")] == first


@speaks
def test_several_voices_speak_and_none_that_judges(cache):
    assert len([*rows_to_learn("speech-train:12")]) == 12
    voices = {one.voice for one in SpeechCache(folder_of("speech-train", 12)).utterances}
    assert len(voices) >= 3
    assert voices <= set(ESPEAK_VOICES)
    assert HELD_OUT_VOICE not in voices


def test_of_three_sentences_one_is_of_a_novel_until_there_are_no_more(monkeypatch):
    monkeypatch.setattr(room, "read_out", lambda: iter(["One.", "Two."]))
    told = [one.text for one in room._told_sentences(9)]
    assert [told.index("One."), told.index("Two.")] == [0, 3]
    assert len({*told}) == 9


def test_pictures_mean_nothing_that_a_built_in_one_means():
    found = [*rows_to_learn("pictures-train:40")]
    assert [*rows_to_learn("pictures-train:40")] == found
    seeds = [int(row.id.removeprefix("train-")) for row in found]
    assert not {imagine(seed).meaning for seed in seeds} & {scene.meaning for scene in frozen().values()}
    assert [row.fields["text"] for row in found] == [imagine(seed).caption for seed in seeds]
    assert all(row.media == "image" and row.file for row in found)


@pytest.mark.parametrize(
    ("name", "rows"), [("scenes-train:3", 15), ("speech-train:7", 7), ("pictures-train:9", 9), ("pictures-train", 1000)]
)
def test_rows_are_counted_before_they_are_made(name, rows, monkeypatch):
    monkeypatch.setattr(room, "SpeechCache", None)
    assert count_rows(name) == rows


def test_sentences_are_whole_and_none_is_in_the_set_that_judges():
    found = [*islice(sentences(), 12_000)]
    assert {*room.read_out()} <= {*found}
    assert len({text.lower() for text in found}) == len(found)
    judged = {row.fields["text"].lower().strip(".?!") for row in load_dataset("speech").rows}
    assert not judged & {text.lower().strip(".?!") for text in found}
    assert all(not text[0].islower() and text[-1] in ".!?" and '"' not in text for text in found)


def test_of_any_other_set_what_judges_and_selects_is_left_out():
    data = load_dataset("pictures")
    found = {row.id for row in rows_to_learn("pictures")}
    assert found == {row.id for row in data.rows if data.parts[row.id] == "calibrate"}


@pytest.mark.parametrize("name", ["scenes-train:0", "speech-train:some", "scenes-train:-3"])
def test_a_number_that_is_none_is_refused(name):
    with pytest.raises(DataError, match="is no number of items"):
        check_rows(name)


def test_where_nobody_can_speak_it_is_said_before_work(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtra, match="espeak-ng"):
        check_rows("speech-train")


def hum(utterance) -> np.ndarray:
    """As long as its text, at a pitch of its own."""
    return np.full(160 * len(utterance.text), len(utterance.text) / 1000, np.float32)


@pytest.fixture
def hums(monkeypatch):
    monkeypatch.setattr(room, "Speaker", lambda: SimpleNamespace(say=hum))


def heard(name: str) -> list[int]:
    return [read_audio(row.sound, 16000).size for row in rows_to_learn(name)]


def test_two_runs_that_speak_at_once_do_not_mix(cache, hums):
    """The second begins and ends in the middle of the first."""
    told, second = [], []

    def interrupt(what: str, done: int, of: int) -> None:
        told.append(done)
        if not second:
            second.append(heard("speech-train:70"))

    found = [row.fields["text"] for row in rows_to_learn("speech-train:70", interrupt)]
    assert told == [64, 70]
    assert heard("speech-train:70") == second[0] == [160 * len(text) for text in found]
    assert [path.name for path in cache.iterdir()] == ["speech-train-70-v2"]
    assert len((cache / "speech-train-70-v2" / "utterances.jsonl").read_text().splitlines()) == 70


def test_what_an_older_run_left_half_done_is_spoken_anew(cache, hums):
    whole = heard("speech-train:5")
    folder = folder_of("speech-train", 5)
    lines = (folder / "utterances.jsonl").read_text().splitlines(keepends=True)
    (folder / "utterances.jsonl").write_text("".join(lines[:3]))
    assert heard("speech-train:5") == whole
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_speech_that_is_broken_off_leaves_nothing(cache, hums):
    def kill(what: str, done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_to_learn("speech-train:3", kill)
    assert [*folder_of("speech-train", 3).iterdir()] == []
    assert len([*cache.iterdir()]) == 1


def test_rows_held_back_are_left_out_and_it_is_told():
    data, told = load_dataset("pictures"), []
    mine = [row for row in data.rows if data.parts[row.id] == "calibrate"]
    held = [replace(row, id=f"copy of {row.id}") for row in mine[:3]]
    found = [row.id for row in rows_to_learn("pictures", lambda what, *_: told.append(what), held)]
    assert found == [row.id for row in mine[3:]]
    assert told == ["3 rows of pictures are kept to choose by: nothing is learned from them"]


@pytest.mark.parametrize(
    ("name", "media", "spoken"), [("pictures-train", "image", False), ("scenes-train", "image", True)]
)
def test_what_rows_of_a_set_have_is_known_before_they_are_made(name, media, spoken, hums):
    (row,) = check_rows(f"{name}:3")
    assert (row.media, row.sound is not None) == (media, spoken)
    assert row.fields["text"]
