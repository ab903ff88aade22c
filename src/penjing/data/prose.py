"""Texts as a data set: a folder of them, or a book, in passages of whole paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from penjing.data.formats import is_readable
from penjing.data.paths import list_files, resolve_inside
from penjing.data.records import Record
from penjing.data.row import DataSet
from penjing.data.rows import data_set
from penjing.data.text_files import read_text
from penjing.errors import DataError

TEXTS = (".txt", ".md", ".pdf")
PASSAGE = 1800
"""Letters of a passage, at least where its text has as many: some 400 tokens of English."""
MANY_FILES = 5
"""From so many on, all passages of a file go to the same part of the data."""


def text_files(folder: Path) -> list[Path]:
    """Texts in a folder and below it, by name; hidden ones do not count, links out of the folder are refused."""
    listing = list_files(folder)
    listing.check_open()
    for path in listing.outside:
        resolve_inside(folder, path.relative_to(folder).as_posix(), str(folder))
    return [path for path in listing.files if path.suffix.lower() in TEXTS and is_readable(path)]


def load_texts(name: str, files: Sequence[Path], folder: Path) -> DataSet:
    """Rows of passages, each with the id of its file and its number."""
    mark = "#" if len(files) >= MANY_FILES else "/"
    records, seen = [], set[str]()
    for path in files:
        place = path.relative_to(folder).as_posix()
        for number, passage in enumerate(passages(read_text(path, place)), 1):
            if passage not in seen:  # licences and headings stand in many files
                records.append(Record(f"{place}, passage {number}", {"id": f"{place}{mark}{number}", "text": passage}))
            seen.add(passage)
    if not records:
        raise DataError(f"{name} has no text", hint=f"its {', '.join(TEXTS)} files are empty")
    return data_set(name, records, folder)


def passages(text: str) -> Iterator[str]:
    """Whole paragraphs, as many as make a passage; a longer paragraph is cut at its lines and words."""
    passage = ""
    for paragraph in text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n\n"):
        for piece in _pieces(paragraph.strip()):
            passage = f"{passage}\n\n{piece}" if passage else piece
            if len(passage) >= PASSAGE:
                yield passage
                passage = ""
    if passage:
        yield passage


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph in pieces of at most two passages."""
    start = 0
    while len(paragraph) - start > 2 * PASSAGE:
        first, last = start + PASSAGE, start + 2 * PASSAGE
        cut = max(paragraph.rfind(mark, first, last) for mark in ("\n", " ")) + 1 or last
        yield paragraph[start:cut].rstrip()
        start = cut
        while start < len(paragraph) and paragraph[start].isspace():
            start += 1
    if start < len(paragraph):
        yield paragraph[start:]
