"""What an assistant knows: a folder of texts and tables, cut into passages that can be found and cited."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from penjing.data.formats import ignored_note, is_readable, media_of
from penjing.data.paths import list_files, resolve_inside
from penjing.data.text_files import encoding_note, read_text
from penjing.errors import DataError

HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1[^\S\n]*$", re.MULTILINE | re.DOTALL)
MARKDOWN = (".md", ".markdown")
TEXTS = (*MARKDOWN, ".txt", ".pdf")
TABLES = (".csv", ".tsv")
QUESTION, ANSWER, PICTURE = "question", "answer", "picture"
SHOWN = re.compile(r"!\[([^\]]*)\]\(\s*<?([^)>\s]+)[^)]*\)")
"""A picture in Markdown: what it is called, and where it lies."""
MOST_WORDS = 200
"""A longer section is cut between its paragraphs, a longer paragraph between its sentences: a passage is what is read
out and cited."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""A word; of scripts without spaces, a letter."""
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of knowledge. `id` is its file within the folder and its title; `text` has no title.

    `pictures` are the files within the folder that it shows; they may be missing.
    """

    id: str
    file: str
    title: str
    text: str
    pictures: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """Title and text, as they are read and compared."""
        return titled(self.title, self.text)


def titled(title: str, text: str) -> str:
    """A text under its title, where it has one."""
    return f"{title}\n{text}" if title else text


def read_knowledge(folder: str | Path) -> list[Passage]:
    """All passages below a folder, by file and in order: sections of Markdown, paragraphs of text, rows of tables.

    Tables have the columns `question` and `answer`, and may have `picture`. Files of other kinds are left out
    (`knowledge_notes` names them); a folder without any passage, a link out of the folder, a text in no known encoding
    or a table without these columns is a DataError.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder} is not a folder", hint="give a folder of .md, .txt or .csv files")
    listing = list_files(root)
    listing.check_open()
    for path in listing.outside:
        resolve_inside(root, path.relative_to(root).as_posix(), str(root))
    found = [passage for path in listing.files for passage in passages_in(path, root)]
    if not found:
        raise DataError(f"{folder} holds nothing to know", hint="put .md, .txt, .pdf or .csv files there")
    return [*_with_own_ids(found)]


def knowledge_notes(folder: str | Path) -> list[str]:
    """What of a folder of knowledge is not read, and which encodings were judged by their content: a line each."""
    files = list_files(Path(folder)).files
    texts = [path for path in files if path.suffix.lower() in (*TEXTS, *TABLES) and is_readable(path)]
    others = [path for path in files if path not in texts and media_of(path) != "image"]
    return [note for note in (ignored_note(others), encoding_note(texts)) if note is not None]


def passages_in(path: Path, root: Path) -> Iterator[Passage]:
    """Passages of one file below a root; none of a file of another kind."""
    name, ending = path.relative_to(root).as_posix(), path.suffix.lower()
    if ending not in (*TEXTS, *TABLES) or not is_readable(path):
        return
    text = read_text(path)
    parts = _rows(text, path) if ending in TABLES else _sections(text) if ending in MARKDOWN else [("", text, "")]
    for title, body, picture in parts:
        for piece in _pieces(body):
            shown = [picture, *(unquote(match[2]) for match in SHOWN.finditer(piece))]
            here = [one for one in shown if media_of(one) == "image" and "://" not in one]
            pictures = tuple(posixpath.normpath((PurePosixPath(name).parent / one).as_posix()) for one in here)
            yield Passage(f"{name}#{title}" if title else name, name, title, SHOWN.sub(_name_of, piece), pictures)


def _name_of(shown: re.Match[str]) -> str:
    """What a picture in a text is called: as the text says, else as its file."""
    return shown[1] or PurePosixPath(unquote(shown[2])).stem


def _sections(text: str) -> Iterator[tuple[str, str, str]]:
    """Title and body of each section; what stands before the first heading has the title of nothing."""
    fences = [match.span() for match in FENCE.finditer(text)]
    headings = [match for match in HEADING.finditer(text) if not any(a <= match.start() < b for a, b in fences)]
    ends = [*(match.start() for match in headings), len(text)]
    yield "", text[: ends[0]], ""
    for match, end in zip(headings, ends[1:], strict=True):
        yield match.group(2), text[match.end() : end], ""


def _rows(text: str, path: Path) -> Iterator[tuple[str, str, str]]:
    """Question, answer and picture of each row of a table."""
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        if not {QUESTION, ANSWER} <= {*(table.fieldnames or ())}:
            raise DataError(f"{path} has no columns `question` and `answer`", hint="name its columns so")
        for row in table:
            yield (row[QUESTION] or "").strip(), row[ANSWER] or "", (row.get(PICTURE) or "").strip()
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}", hint="check its quotes and long cells") from error


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of whole paragraphs, of so many words at most."""
    piece: list[str] = []
    words = 0
    paragraphs = filter(None, (part.strip() for part in re.split(r"\n\s*\n", text)))
    for part in (part for paragraph in paragraphs for part in _parts(paragraph)):
        count = sum(1 for _ in WORD.finditer(part))
        if piece and words + count > MOST_WORDS:
            yield "\n\n".join(piece)
            piece, words = [], 0
        piece.append(part)
        words += count
    if piece:
        yield "\n\n".join(piece)


def _parts(paragraph: str) -> Iterator[str]:
    """A paragraph, a long one in parts of whole sentences; a sentence that is longer still is cut between words."""
    words = [0, *(match.end() for match in WORD.finditer(paragraph))]
    ends = [bisect_right(words, match.start()) - 1 for match in SENTENCE_END.finditer(paragraph)]
    start = 0
    while len(words) - 1 - start > MOST_WORDS:
        before = bisect_right(ends, start + MOST_WORDS)
        end = ends[before - 1] if before and ends[before - 1] > start else start + MOST_WORDS
        yield paragraph[words[start] : words[end]].strip()
        start = end
    yield paragraph[words[start] :].strip()


def _with_own_ids(passages: list[Passage]) -> Iterator[Passage]:
    """Number the passages of one file that have one title."""
    seen: dict[str, int] = {}
    for one in passages:
        seen[one.id] = seen.get(one.id, 0) + 1
        number = f" ({seen[one.id]})" if seen[one.id] > 1 else ""
        yield replace(one, id=one.id + number)
