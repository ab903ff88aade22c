"""Languages that rows claim and the model does not hear."""

from __future__ import annotations

import pytest

from penjing.data.row import Row
from penjing.judge.languages import ROWS_PER_LANGUAGE, language_warnings

pytestmark = pytest.mark.shop


class Runner:
    def __init__(self, languages: list[str], answers: dict[bytes, str]) -> None:
        self.languages, self.answers, self.asked = languages, answers, []

    def guess_language(self, sound: bytes) -> str:
        self.asked.append(sound)
        return self.answers[sound]


def clips(language: str, count: int) -> list[Row]:
    return [Row(f"{language}{n}", {"language": language}, "audio", f"{language}{n}".encode()) for n in range(count)]


def test_a_wrong_column_is_warned_of():
    rows = [*clips("fr", 4), *clips("en", 4)]
    answers = {row.file: "de" if row.fields["language"] == "fr" else "en" for row in rows}
    (warning,) = language_warnings(Runner(["de", "en", "fr"], answers), rows)
    assert warning.startswith("rows say language fr, the model hears another in 4 of 4, mostly de")


def test_few_mistakes_are_the_models_own():
    rows = clips("fr", 4)
    answers = dict(zip([row.file for row in rows], ["fr", "fr", "de", "en"], strict=True))
    assert language_warnings(Runner(["de", "en", "fr"], answers), rows) == []


def test_a_few_rows_of_each_language_are_listened_to():
    rows = clips("fr", 100)
    runner = Runner(["fr"], {row.file: "fr" for row in rows})
    assert language_warnings(runner, rows) == []
    assert len(runner.asked) == ROWS_PER_LANGUAGE


def test_models_of_one_language_are_not_asked():
    runner = Runner([], {})
    assert language_warnings(runner, clips("fr", 4)) == []
    assert language_warnings(object(), clips("fr", 4)) == []
    assert runner.asked == []
