"""Text of a file: UTF-8, UTF-16 and UTF-32 by their marks, other encodings by charset-normalizer, and PDF."""

from __future__ import annotations

import codecs
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from charset_normalizer import from_bytes

from penjing.data.formats import DOCUMENTS, need_package
from penjing.errors import DataError

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; those of UTF-32 begin with one of UTF-16."""
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Characters of binary files; a tab, a page break and an escape may stand in a text."""
UTF8 = "utf-8"
WESTERN = "cp1252"
CANDIDATES = [
    "utf_16_le", "utf_16_be", WESTERN, "gb18030", "cp1251", "koi8_r", "cp932", "euc_jp", "cp949", "big5", "cp1250",
    "cp1253", "cp1254", "cp1255", "cp1256",
]  # fmt: skip
"""Encodings that are looked for, each of a language that is still saved so."""
LARGEST_BYTES = 200_000_000
NEWLINE = b"\n"
HINT = "save it as UTF-8, for example with `iconv -f latin1 -t utf8`"


def read_text(path: Path, name: str | None = None) -> str:
    """Read the text of a file; `name` is what it is called in messages.

    Raises:
        DataError: it cannot be opened, is larger than `LARGEST_BYTES`, or holds no text in an encoding that is known.
    """
    name = name or str(path)
    content = _content(path, name)
    return _pdf_text(content, name) if path.suffix.lower() in DOCUMENTS else decode_text(content, name)


def decode_text(content: bytes, name: str) -> str:
    """Decode a text, without its byte order mark.

    Raises:
        DataError: it is damaged, or in no encoding that is known.
    """
    encoding = encoding_of(content)
    try:
        if encoding is not None and not CONTROLS.search(text := content.decode(encoding)):
            return text.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not {encoding} (byte {error.start + 1})", hint=HINT) from error
    start = _first_damage(content)
    place = f"{name}, line {content.count(NEWLINE, 0, start) + 1}"
    raise DataError(f"{place} is neither UTF-8 (byte {start + 1} of the file) nor in a known encoding", hint=HINT)


def encoding_of(content: bytes) -> str | None:
    """Return the encoding of a text: UTF-8 or what its mark says, else the most plausible one; None for no text.

    cp1252 goes before others that fit as well: charset-normalizer ranks equals by name. Of 303 beginnings (40 to 5,000
    characters) of the built-in texts and of declarations of human rights in 15 languages, in the encodings that they
    are saved in, 295 are told right, all of cp1252, GB18030 and UTF-16 among them.
    """
    mark = next((encoding for start, encoding in MARKS if content.startswith(start)), None)
    if mark is not None:
        return mark
    try:
        content.decode(UTF8)
    except UnicodeDecodeError:
        if _is_damaged_utf8(content):
            return None
        matches = from_bytes(content, cp_isolation=CANDIDATES, preemptive_behaviour=False)
        best = matches.best()
        if best is None:
            return None
        western = (match for match in matches if WESTERN in (match.encoding, *match.could_be_from_charset))
        as_good = any(match.chaos <= best.chaos for match in western)
        return WESTERN if as_good and _decodes(content, WESTERN) else best.encoding
    return UTF8 if b"\0" not in content else _utf16_without_mark(content)


def encoding_note(paths: Iterable[Path]) -> str | None:
    """Say of which files the encoding was judged by their content, in one line; None where all say it themselves."""
    judged: dict[str, list[str]] = {}
    for path in paths:
        if path.suffix.lower() in DOCUMENTS:
            continue
        try:
            content = _content(path, str(path))
        except DataError:  # who reads it says so
            continue
        encoding = encoding_of(content)
        if encoding is not None and encoding != UTF8 and not any(content.startswith(mark) for mark, _ in MARKS):
            judged.setdefault(encoding, []).append(path.name)
    parts = [
        f"{encoding} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for encoding, names in sorted(judged.items())
    ]
    return f"not UTF-8, read as {', '.join(parts)}" if parts else None


def _content(path: Path, name: str) -> bytes:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{name} is larger than {LARGEST_BYTES // 10**6} MB", hint="cut it into shorter files")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}", hint="check the path and permissions") from error


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(content: bytes) -> bool:
    """Return whether a text is UTF-8 but for some bytes: read as another encoding, all its letters would be wrong."""
    valid = content.decode(UTF8, errors="ignore")
    sequences = sum(character > "\x7f" for character in valid)
    return sequences > len(content) - len(valid.encode(UTF8))


def _first_damage(content: bytes) -> int:
    try:
        content.decode(UTF8)
    except UnicodeDecodeError as error:
        return error.start
    match = CONTROLS.search(content.decode(UTF8))
    return 0 if match is None else len(content.decode(UTF8)[: match.start()].encode(UTF8))


def _utf16_without_mark(content: bytes) -> str | None:
    """Return which UTF-16 mostly ASCII text is in: every second byte is 0. None where zeros stand elsewhere."""
    for encoding, high, low in (("utf_16_le", content[1::2], content[::2]), ("utf_16_be", content[::2], content[1::2])):
        if high.count(0) > len(high) // 2 and 0 not in low and _decodes(content, encoding):
            return encoding
    return None


def _pdf_text(content: bytes, name: str) -> str:
    """Return the text of the pages of a PDF file, each a paragraph.

    Raises:
        DataError: it is damaged or encrypted, has no text (scanned pages), or the extra is missing.
    """
    pypdf = need_package("pypdf", name)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]
    except Exception as error:  # a damaged file raises what its many parsers raise
        reason = "it is encrypted" if "crypt" in type(error).__name__.lower() + str(error).lower() else "it is damaged"
        raise DataError(f"{name} is a PDF that cannot be read: {reason}", hint="print it to a new PDF") from error
    text = "\n\n".join(filter(None, (page.strip() for page in pages)))
    if not text:
        raise DataError(f"{name} holds no text: its pages are images", hint="let an OCR program write its text first")
    return text
