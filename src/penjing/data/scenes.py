"""The built-in set `scenes`: pictures, what is said and asked about them, and some of it spoken.

Two folders hold it, in the manner of imagefolder and audiofolder of `datasets`; a sound names its picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from penjing.data.paths import resolve_inside
from penjing.data.records import read_records
from penjing.data.row import DataSet, Row

FOLDER = Path(__file__).parent / "builtin" / "scenes"
FIELDS = ("text", "question", "answer", "scene", "speaker")


def load_scenes() -> DataSet:
    """360 pictures, 300 to judge by; each has one row with its caption, typed and spoken, and four with a question.

    Of the questions three are typed and one is spoken. `scene` is all that is known of a picture (`scenes.Scene`),
    `speaker` is `new` where training never heard the voice.
    """
    rows: list[Row] = []
    parts: dict[str, str] = {}
    spoken = {_what(sound): sound for sound in _records("speech")}
    typed = Counter[str]()
    for record in _records("images"):
        file = resolve_inside(FOLDER / "images", record["file_name"], "scenes")
        asked = record.get("question") is not None
        typed[file.stem] += asked
        told = None if asked else spoken[file.stem, "caption"]
        row = _row(f"{file.stem}/{typed[file.stem]}" if asked else file.stem, file, record, told)
        rows.append(row)
        parts[row.id] = record["part"]
        if not asked:
            question = spoken[file.stem, "question"]
            rows.append(_row(f"{file.stem}/spoken", file, question, question))
            parts[rows[-1].id] = record["part"]
    return DataSet("scenes", tuple(rows), parts)


def _records(folder: str) -> list[Mapping[str, Any]]:
    return [record.values for record in read_records(FOLDER / folder / "metadata.jsonl")]


def _what(sound: Mapping[str, Any]) -> tuple[str, str]:
    """Which picture a sound is about, and whether it tells or asks."""
    return PurePosixPath(sound["picture"]).stem, "caption" if sound.get("answer") is None else "question"


def _row(name: str, file: Path, record: Mapping[str, Any], sound: Mapping[str, Any] | None) -> Row:
    found = {key: str(value) for source in (sound or {}, record) for key, value in source.items() if key in FIELDS}
    if name != file.stem and "text" in found:
        found["question"] = found.pop("text")
    spoken = resolve_inside(FOLDER / "speech", sound["file_name"], "scenes") if sound else None
    return Row(name, found, "image", file, spoken)
