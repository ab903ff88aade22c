"""Speech: what is read and what never is, a cache that survives a kill, sounds that are varied."""

from __future__ import annotations

import shutil
from itertools import islice

import numpy as np
import pytest

from penjing.errors import MissingExtra
from penjing.scenes.captions import caption
from penjing.scenes.holdout import held_out
from penjing.scenes.scene import imagine
from penjing.seedling import speech as room
from penjing.seedling.speech import (
    ESPEAK_VOICES,
    HELD_OUT_VOICE,
    PIPER_VOICE,
    RATE_HZ,
    Speaker,
    SpeechCache,
    Utterance,
    augmented,
    script,
)
from tiny_seedling import tones


def test_the_script_is_of_known_voices_and_holds_nothing_out():
    read = list(islice(script(), 900))
    assert read == list(islice(script(), 900))
    assert {one.voice for one in read} == {*ESPEAK_VOICES, PIPER_VOICE}
    assert HELD_OUT_VOICE not in {one.voice for one in read}
    assert not [one for one in read if held_out(one.text)]
    for one in read[::50]:
        assert one.kind == "question" or one.text == caption(imagine(one.seed))
    assert {one.kind for one in read} == {"caption", "question"}


def test_the_cache_keeps_what_was_read(tmp_path):
    wanted = list(islice(script(), 70))
    assert list(SpeechCache(tmp_path).fill(wanted, tones)) == [64, 70]
    found = SpeechCache(tmp_path)
    assert found.utterances == wanted
    for place in (0, 63, 64, 69):
        assert np.abs(found.samples(place) - tones(wanted[place])).max() < 1e-4
        assert found.seconds(place) == tones(wanted[place]).size / RATE_HZ


def test_a_killed_reading_goes_on(tmp_path):
    wanted = list(islice(script(), 130))

    def faint(utterance: Utterance) -> np.ndarray:
        if utterance == wanted[100]:
            raise KeyboardInterrupt
        return tones(utterance)

    with pytest.raises(KeyboardInterrupt):
        list(SpeechCache(tmp_path / "broken").fill(wanted, faint))
    with (tmp_path / "broken" / "samples.i16").open("ab") as file:
        file.write(b"unfinished")
    asked: list[Utterance] = []

    def count(utterance: Utterance) -> np.ndarray:
        asked.append(utterance)
        return tones(utterance)

    list(SpeechCache(tmp_path / "broken").fill(wanted, count))
    assert set(asked) == set(wanted[64:])
    list(SpeechCache(tmp_path / "whole").fill(wanted, tones))
    for name in ("samples.i16", "utterances.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_augmented_sounds_are_other_sounds_of_about_that_length():
    sound = tones(Utterance("a red star", "caption", 1, "", 160, 50))
    made = [augmented(sound, np.random.default_rng(seed)) for seed in range(30)]
    lengths = np.array([one.size for one in made]) / sound.size
    assert 0.9 <= lengths.min() < 0.95
    assert 1.05 < lengths.max() <= 1.12
    loudness = np.array([np.sqrt(np.mean(one**2)) for one in made]) / np.sqrt(np.mean(sound**2))
    assert loudness.min() < 0.4
    assert loudness.max() > 1.5
    assert np.array_equal(made[3], augmented(sound, np.random.default_rng(3)))


def test_without_a_synthesiser(monkeypatch):
    monkeypatch.setattr(room.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtra, match="espeak-ng is not installed"):
        Speaker()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is a tool of training only")
@pytest.mark.parametrize("voice", [*ESPEAK_VOICES[::5], HELD_OUT_VOICE])
def test_espeak_reads_the_same_sentence_the_same_way(voice):
    one = Utterance("how many red circles are there", "question", 0, voice, 170, 50)
    samples = Speaker().say(one)
    assert 1 < samples.size / RATE_HZ < 4
    assert np.array_equal(samples, Speaker().say(one))
    assert 0.02 < np.abs(samples).max() <= 1.0
