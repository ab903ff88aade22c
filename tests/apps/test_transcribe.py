"""Speech recognition on files: every format and rate, windows of long sound, languages, honest seconds."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import penjing
from penjing.apps.transcribe import sorted_out, sound_files, transcribe_file, transcribe_files, warm_up
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.speech import SpeechRunner
from penjing.runtimes.transcription import Heard
from penjing.runtimes.voice_activity import Span
from tiny_speech import RATE_HZ, sound

FORMATS = [
    ("wav", 16000, 1),
    ("wav", 44100, 2),
    ("wav", 11025, 1),
    ("flac", 22050, 2),
    ("ogg", 48000, 1),
    ("mp3", 32000, 2),
    ("mp3", 44100, 1),
]


class Echo(SpeechRunner):
    """A runner without a model that tells what windows it was given."""

    sampling_rate_hz = RATE_HZ
    longest_s = 30.0

    def __init__(self, languages: Sequence[str] = ("en", "de")) -> None:  # opens no graphs
        self.settings = {"generation": {"languages": dict.fromkeys(languages, 0)}}
        self.windows: list[tuple[int, str | None]] = []
        self.warmed: list[float] = []
        self.meets: threading.Barrier | None = None

    def hear(self, samples: Any, language: Any = None, *, times: bool = False, **options: Any) -> Heard:
        if self.meets:
            self.meets.wait(10)
        given = language.of_window({})
        self.windows.append((len(samples), given))
        return Heard(f"part {len(self.windows)}", (), given or "de", 0.0)

    def warm_up(self, lengths_s: Any) -> None:
        self.warmed = list(lengths_s)


def write(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, channels: int = 1) -> str:
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate_hz)
    return str(path)


@pytest.fixture(scope="module")
def runner(speech_artifact):
    """One that takes the hum of these tests for speech."""
    runner = penjing.load(speech_artifact, threads=1, warm_up=False)
    runner.voice_spans = lambda samples: [Span(0.0, len(samples) / RATE_HZ)]
    return runner


@pytest.mark.parametrize(("ending", "rate_hz", "channels"), FORMATS)
def test_every_format_and_rate(ending, rate_hz, channels, runner, tmp_path):
    name = write(tmp_path / f"clip.{ending}", sound(1.5, rate_hz=rate_hz), rate_hz, channels)
    found = transcribe_file(runner, name, "en")
    assert found.file == name
    assert found.audio_seconds == pytest.approx(1.5, abs=0.1)
    assert found.text
    assert [(part.start_s, part.end_s, part.text) for part in found.segments] == [(0, found.audio_seconds, found.text)]


def test_stereo_and_container_do_not_change_the_text(runner, tmp_path):
    samples = sound(2.0)
    names = [
        write(tmp_path / "mono.wav", samples),
        write(tmp_path / "stereo.wav", samples, channels=2),
        write(tmp_path / "mono.flac", samples),
    ]
    texts = {found.text for found in transcribe_files([runner], names, "en")}
    assert len(texts) == 1


def test_long_sound_is_cut_into_windows_that_touch(tmp_path):
    echo = Echo()
    found = transcribe_file(echo, write(tmp_path / "long.wav", sound(95)))
    assert len(found.segments) >= 4
    assert found.segments[0].start_s == 0
    assert found.segments[-1].end_s == found.audio_seconds == 95
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(found.segments))
    assert all(part.end_s - part.start_s <= 28 for part in found.segments)
    assert sum(count for count, _ in echo.windows) == 95 * RATE_HZ
    assert found.text == " ".join(part.text for part in found.segments)


def test_a_real_runner_hears_all_windows(runner, tmp_path):
    found = transcribe_file(runner, write(tmp_path / "long.flac", sound(62)))
    assert len(found.segments) == 3
    assert found.language in runner.languages


def test_a_given_language_is_that_of_every_window(tmp_path):
    echo = Echo()
    assert transcribe_file(echo, write(tmp_path / "long.wav", sound(65)), "en").language == "en"
    assert [language for _, language in echo.windows] == ["en"] * 4


def test_every_file_is_guessed_anew(tmp_path):
    echo = Echo()
    names = [write(tmp_path / f"{number}.wav", sound(1)) for number in range(2)]
    assert len(list(transcribe_files([echo], names))) == 2
    assert [language for _, language in echo.windows] == [None, None]


def test_language_given_and_guessed(runner, tmp_path):
    name = write(tmp_path / "clip.wav", sound(1))
    assert transcribe_file(runner, name, "de").language == "de"
    assert transcribe_file(runner, name).language in ("en", "de")


def test_language_it_does_not_know(runner, tmp_path):
    name = write(tmp_path / "clip.wav", sound(1))
    with pytest.raises(DataError, match="does not know the language 'fr'"):
        transcribe_file(runner, name, "fr")


@pytest.mark.parametrize(("languages", "asked"), [(("en", "de"), "fr"), ((), "de")])
def test_a_language_it_does_not_know_is_refused_before_any_file_is_read(languages, asked):
    echo = Echo(languages)
    with pytest.raises(DataError, match=f"does not know the language '{asked}'"):
        list(transcribe_files([echo], ["gone.wav"], asked))


def test_an_english_model_takes_english(tmp_path):
    echo = Echo([])
    assert len(list(transcribe_files([echo], [write(tmp_path / "clip.wav", sound(1))], "en"))) == 1


def test_seconds_sum_to_the_elapsed_time(runner, tmp_path):
    names = [write(tmp_path / f"{number}.wav", sound(1 + number)) for number in range(4)]
    start = time.perf_counter()
    found = list(transcribe_files([runner], names, "en"))
    elapsed = time.perf_counter() - start
    total = sum(one.seconds for one in found)
    assert all(one.seconds > 0 for one in found)
    assert 0.9 * elapsed - 0.01 < total <= elapsed


def test_json_has_the_keys_of_the_contract(runner, tmp_path):
    found = transcribe_file(runner, write(tmp_path / "clip.wav", sound(1)), "en").as_json()
    assert list(found) == ["file", "text", "language", "seconds", "audio_seconds", "segments"]
    assert found["segments"] == [{"start": 0.0, "end": 1.0, "text": found["text"], "language": "en"}]


def test_folders_stand_for_the_sounds_in_them_however_deep(tmp_path):
    (tmp_path / "calls" / "old").mkdir(parents=True)
    (tmp_path / "calls" / "notes.txt").write_text("no sound")
    names = [write(tmp_path / "calls" / name, sound(1)) for name in ("b.wav", "old/c.ogg", "a.flac")]
    alone = write(tmp_path / "z.wav", sound(1))
    assert sound_files([alone, str(tmp_path / "calls")]) == [alone, names[2], names[0], names[1]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no sound files"):
        sound_files([str(tmp_path / "empty")])


def test_a_real_runner_tells_times_within_the_sound(runner, tmp_path):
    found = transcribe_file(runner, write(tmp_path / "clip.wav", sound(3)), "en", times=True)
    times = [time for part in found.segments for time in (part.start_s, part.end_s)]
    assert times == sorted(times)
    assert times
    assert max(times) <= 3.0


def test_missing_files_are_refused_before_the_model_is_loaded(tmp_path):
    here = write(tmp_path / "clip.wav", sound(1))
    assert sorted_out([here]) == ([here], {})
    with pytest.raises(DataError, match=r"gone\.wav is not a file"):
        sorted_out([here, str(tmp_path / "gone.wav")])
    with pytest.raises(DataError, match="is not a file"):
        sorted_out([str(tmp_path)])


def test_what_is_no_sound_is_known_before_the_model_is_loaded(tmp_path):
    (tmp_path / "words.wav").write_text("no sound")
    here, words, empty = (str(tmp_path / name) for name in ("clip.wav", "words.wav", "empty.wav"))
    write(tmp_path / "clip.wav", sound(1))
    write(tmp_path / "empty.wav", sound(1)[:0])
    heard, faults = sorted_out([words, here, empty])
    assert heard == [here]
    assert "is not a sound" in faults[words].message
    assert "has no samples" in faults[empty].message
    with pytest.raises(DataError, match=r"words\.wav is not a sound"):
        sorted_out([words, empty])


def test_what_cannot_be_heard_is_told_and_the_rest_is_transcribed(tmp_path):
    names = [write(tmp_path / f"{number}.wav", sound(1)) for number in range(3)]
    Path(names[1]).write_bytes(b"cut short")
    faults: dict[str, DataError] = {}
    found = [one.file for one in transcribe_files([Echo()], names, faults=faults)]
    assert found == [names[0], names[2]]
    assert [*faults] == [names[1]]
    with pytest.raises(DataError, match="is not a sound"):
        list(transcribe_files([Echo()], names))


def test_several_hear_at_a_time_and_texts_come_in_order(tmp_path):
    names = [write(tmp_path / f"{number}.wav", sound(1)) for number in range(6)]
    runners = [Echo(), Echo()]
    for one in runners:
        one.meets = threading.Barrier(2) if one is runners[0] else runners[0].meets
    assert [one.file for one in transcribe_files(runners, names)] == names
    assert [len(one.windows) for one in runners] == [3, 3]


def test_an_artifact_of_another_task():
    echo = Echo()
    echo.task = "dual-encoder"
    with pytest.raises(ArtifactError, match="does dual-encoder, not speech recognition"):
        list(transcribe_files([echo], ["clip.wav"]))


def test_warm_up_knows_the_lengths(tmp_path):
    echo = Echo()
    warm_up(echo, [write(tmp_path / "short.wav", sound(2)), write(tmp_path / "long.wav", sound(40))])
    assert echo.warmed == [2.0, 30.0]
