"""Transcripts by the teacher: of clips without any, and instead of those that it agrees with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from penjing.data.source import load_dataset
from penjing.errors import DataError
from penjing.models.open import open_model
from penjing.teach import pseudo
from penjing.teach.pseudo import pseudo_labelled
from tiny_speech import save_sounds, save_whisper


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return open_model(str(save_whisper(tmp_path_factory.mktemp("models") / "whisper")))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return load_dataset(str(save_sounds(tmp_path_factory.mktemp("data") / "sounds", 4))).rows


@pytest.fixture
def heard(rows, monkeypatch):
    """A runner that hears the clips' own words with one of them wrong in the second, and nothing in the last."""
    said = [row.fields["text"] for row in rows]
    said[1] = said[1].rpartition(" ")[0] + " nonsense"
    said[3] = "  "
    calls = []

    def transcribe(sound, language):
        calls.append(language)
        return SimpleNamespace(text=said[len(calls) - 1].upper())

    monkeypatch.setattr(pseudo, "reference_runner", lambda model: SimpleNamespace(transcribe=transcribe))
    return calls


def test_what_differs_by_more_than_a_tenth_or_is_empty_goes(teacher, rows, heard, tmp_path):
    kept = pseudo_labelled(teacher, rows, tmp_path)
    assert [row.id for row in kept] == [rows[0].id, rows[2].id]
    assert [row.fields["text"] for row in kept] == [rows[place].fields["text"].upper() for place in (0, 2)]
    assert heard == ["en"] * 4


def test_of_clips_without_a_transcript_all_that_is_heard_is_kept(teacher, rows, heard, tmp_path):
    from dataclasses import replace

    unlabelled = [replace(row, fields={"language": "en"}) for row in rows]
    kept = pseudo_labelled(teacher, unlabelled, tmp_path)
    assert [row.id for row in kept] == [row.id for row in rows[:3]]


def test_they_are_transcribed_once(teacher, rows, heard, tmp_path):
    first = pseudo_labelled(teacher, rows, tmp_path)
    assert pseudo_labelled(teacher, rows, tmp_path) == first
    assert len(heard) == 4


def test_a_teacher_that_hears_nonsense_teaches_nothing(teacher, rows, tmp_path):
    """The tiny one is random."""
    with pytest.raises(DataError, match="of 4 clips the teacher transcribed none within 10%"):
        pseudo_labelled(teacher, rows, tmp_path)


def test_a_model_that_does_not_transcribe_is_no_teacher_of_it(rows, fresh, tmp_path):
    with pytest.raises(DataError, match="transcribes no speech"):
        pseudo_labelled(fresh("llama"), rows, tmp_path)


def test_what_was_transcribed_before_a_kill_is_kept(teacher, rows, heard, tmp_path):
    def kill(what: str, done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pseudo_labelled(teacher, rows, tmp_path, kill)
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text() + '"half a li')
    told = []
    kept = pseudo_labelled(teacher, rows, tmp_path, lambda what, done, of: told.append(done))
    assert len(heard) == 4
    assert told == [2, 3]
    assert [row.id for row in kept] == [rows[0].id, rows[2].id]
