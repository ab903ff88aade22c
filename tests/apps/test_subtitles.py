"""Subtitles as players read them."""

from __future__ import annotations

import pytest

from penjing.apps.subtitles import WRITERS
from penjing.runtimes.transcription import Segment

pytestmark = pytest.mark.shop

SAID = (
    Segment(0.0, 1.5, "Tea & <cake>"),
    Segment(1.5, 1.6, ""),
    Segment(3661.9996, 3725.0015, "two\n\nlines"),
)


def test_srt():
    assert WRITERS["srt"](SAID) == (
        "1\n00:00:00,000 --> 00:00:01,500\nTea & <cake>\n\n2\n01:01:02,000 --> 01:02:05,002\ntwo lines\n\n"
    )


def test_vtt_escapes_what_it_would_read_as_markup():
    assert WRITERS["vtt"](SAID) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nTea &amp; &lt;cake&gt;\n\n01:01:02.000 --> 01:02:05.002\ntwo lines\n"
    )


def test_nothing_said():
    assert {name: write(()) for name, write in WRITERS.items()} == {"text": "", "srt": "", "vtt": "WEBVTT\n"}
