"""Whether the languages that rows claim are the ones that a model hears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from penjing.data.row import Row

ROWS_PER_LANGUAGE = 8
"""Rows of each language that are listened to."""
DOUBTED_SHARE = 0.5
"""Share of a language's rows heard as another one that is worth a warning."""


def language_warnings(runner: Any, rows: Sequence[Row]) -> list[str]:
    """Warn of languages in the column `language` that the model hears as others in more than half of the rows.

    A runner that knows one language, or none, warns of nothing.
    """
    if not getattr(runner, "languages", None) or not hasattr(runner, "guess_language"):
        return []
    by_language: dict[str, list[Row]] = {}
    for row in rows:
        if row.sound is not None and row.fields.get("language"):
            by_language.setdefault(row.fields["language"], []).append(row)
    warnings = []
    for language, members in sorted(by_language.items()):
        step = max(1, len(members) // ROWS_PER_LANGUAGE)
        sample = members[::step][:ROWS_PER_LANGUAGE]
        guesses = Counter(runner.guess_language(row.sound) for row in sample)
        guess, _ = guesses.most_common(1)[0]
        wrong = sum(count for code, count in guesses.items() if code != language)
        if wrong > DOUBTED_SHARE * len(sample):
            warnings.append(
                f"rows say language {language}, the model hears another in {wrong} of {len(sample)}, mostly {guess}: "
                "check the column language"
            )
    return warnings
