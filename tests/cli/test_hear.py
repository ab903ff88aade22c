"""A stream on the command line: what is settled is there at once, and a terminal holds no more than its last line."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from penjing.apps.subtitles import WRITERS
from penjing.cli.hear import Wanted, hear_stream
from penjing.cli.output import fitted
from penjing.runtimes.transcription import Segment, Transcription

RATE_HZ = 16000
LONG = "and so on and on it goes, word after word, until nobody listens any more"


class Long:
    """Hears a sentence that grows by itself every second."""

    sampling_rate_hz, longest_s = RATE_HZ, 4.0

    def check_language(self, language):
        pass

    def listener(self, language, *, speech_filter):
        return self

    def window(self, samples, *, settled):
        seconds = len(samples) // RATE_HZ
        return Transcription(" ".join([LONG] * seconds), "en", float(seconds), ())


class Trickle(io.BytesIO):
    """A stream that looks at what was written so far before it gives more."""

    def __init__(self, content: bytes, look) -> None:
        super().__init__(content)
        self._look = look

    def read(self, size=-1):
        self._look()
        return super().read(size)


def samples(seconds: int) -> bytes:
    times = np.arange(seconds * RATE_HZ) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * 200 * times)).astype("<i2").tobytes()


@pytest.fixture
def hear(monkeypatch, capsys):
    """Hear a stream; returns what was written, and each time that more was read."""

    def run(seconds: int, format: str = "text", *, json: bool = False) -> tuple[str, list[str]]:
        looks, written = [], []

        def look():
            written.append(capsys.readouterr().out)
            looks.append("".join(written))

        monkeypatch.setattr(Wanted, "open", lambda self: Long())
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Trickle(samples(seconds), look)))
        hear_stream(Wanted("x", None, format, None, False, "auto", 1, json))
        look()
        return looks[-1], looks

    return run


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
def test_what_is_settled_is_written_at_once_in_every_format(format, hear):
    whole, looks = hear(10, format)
    assert len({look for look in looks if look}) >= 3  # it grew
    assert all(whole.startswith(look) for look in looks)
    times = re.findall(r"(\d\d):(\d\d):(\d\d)[.,](\d+)", whole)
    stamps = [3600 * int(h) + 60 * int(m) + int(s) + int(ms) / 1000 for h, m, s, ms in times]
    texts = [line for line in whole.splitlines() if line.startswith("and")]
    starts, ends = stamps[::2] or [0.0] * len(texts), stamps[1::2] or [0.0] * len(texts)
    segments = [Segment(*one) for one in zip(starts, ends, texts, strict=True)]
    assert whole == WRITERS[format](segments)


def test_json_is_one_document(hear):
    whole, looks = hear(10, json=True)
    assert set(looks[:-1]) == {""}
    assert whole.startswith("{")


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
def test_nothing_that_was_said(format, hear):
    assert hear(0, format)[0] == WRITERS[format](())


def test_what_is_not_settled_never_wraps(hear, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    whole, _ = hear(3)
    *early, last = whole.split("\r\033[K")[1:]
    assert len(early) >= 3
    assert all(len(part) <= 39 and "\n" not in part for part in early)
    assert early[0].startswith("…")
    assert LONG.endswith(early[0][1:])
    assert last == " ".join([LONG] * 3) + "\n"


@pytest.mark.parametrize(
    ("text", "columns", "start", "end"),
    [
        ("as it is", 8, "as it is", "as it is"),
        ("as it was", 8, "as it w…", "… it was"),
        ("two\nlines ", 9, "two lines", "two lines"),
        ("盆景要浇水", 7, "盆景要…", "…要浇水"),
        ("盆景要浇水", 10, "盆景要浇水", "盆景要浇水"),
    ],
)
def test_a_text_that_fits_a_line(text, columns, start, end):
    assert (fitted(text, columns), fitted(text, columns, end=True)) == (start, end)


@pytest.mark.parametrize(
    ("threads", "workers", "files", "counts"),
    [(4, 2, 9, [2, 2]), (5, 2, 9, [3, 2]), (8, 8, 2, [4, 4]), (1, 4, 9, [1, 1, 1, 1]), (4, 1, 9, [4]), (3, 8, 1, [3])],
)
def test_workers_share_the_threads_and_none_idles(threads, workers, files, counts):
    wanted = Wanted("artifact", None, "text", None, False, "auto", threads, False, workers)
    assert wanted.thread_counts(files) == counts
