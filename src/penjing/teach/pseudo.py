"""Speech that nobody wrote down, or not well: the teacher writes it down, and the student learns what it wrote.

Distil-Whisper (arXiv:2311.00430, section 3.2): sequence-level distillation by pseudo-labels, without those that differ
from a known transcript by more than a tenth of its words: there the teacher made things up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from penjing.bounded_json import parse_json
from penjing.calibrate.runner import reference_runner
from penjing.data.content import content_key
from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.words import normalise, word_errors
from penjing.models.family import Model
from penjing.teach.teacher import identity
from penjing.train.folder import whole_lines, write_whole
from penjing.values import Tell, silent

MOST_WER = 0.1
SPEECH = ("speech-seq2seq",)


def pseudo_labelled(teacher: Model, rows: Iterable[Row], folder: Path, tell: Tell = silent) -> list[Row]:
    """Rows with the teacher's transcripts in the place of their own, without those that it got wrong or left empty.

    Transcripts are kept in the folder. None left is a DataError; so is a teacher that transcribes nothing.
    """
    if teacher.family.task not in SPEECH:
        raise DataError(f"{teacher.name} transcribes no speech", hint="leave pseudo_labels away")
    given = [*rows]
    said = _transcripts(teacher, given, folder, tell)
    kept = [
        replace(row, fields={**row.fields, "text": text})
        for row, text in zip(given, said, strict=True)
        if text and _agrees(row, text)
    ]
    if not kept:
        raise DataError(
            f"of {len(given)} clips the teacher transcribed none within {MOST_WER:.0%} of its words",
            hint="give speech in a language that the teacher knows, or leave pseudo_labels away",
        )
    return kept


def _transcripts(teacher: Model, rows: Sequence[Row], folder: Path, tell: Tell) -> list[str]:
    """What the teacher hears in each, from the folder or computed now and kept there, a line a clip."""
    digest = hashlib.sha256(" ".join([identity(teacher), *(content_key(row) for row in rows)]).encode())
    path = folder / f"transcripts-{digest.hexdigest()[:16]}.jsonl"
    known = whole_lines(path) if path.is_file() else []
    found: list[str] = [parse_json(line) for line in known]
    if len(found) == len(rows):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(known))
    runner = reference_runner(teacher)
    with path.open("a", encoding="utf8") as lines:
        for done, row in enumerate(rows[len(found) :], len(found)):
            tell("transcribe", done, len(rows))
            found.append(_transcribed(runner, row))
            lines.write(json.dumps(found[-1]) + "\n")
            lines.flush()
    return found


def _transcribed(runner: Any, row: Row) -> str:
    if row.sound is None:
        return ""
    text: str = runner.transcribe(row.sound, row.fields.get("language")).text
    return text.strip()


def _agrees(row: Row, said: str) -> bool:
    """Whether a transcript is near to the known one, or none is known."""
    known = row.fields.get("text")
    if not known:
        return True
    language = row.fields.get("language", "en")
    errors, words = word_errors([normalise(known, language)], [normalise(said, language)])
    return float(errors[0]) <= MOST_WER * float(words[0])
