"""Folders of texts and books as data sets: passages of whole paragraphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.data.prose import PASSAGE, passages
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.errors import DataError

pytestmark = pytest.mark.shop


def words(count: int, of: str = "word") -> str:
    return " ".join(f"{of}{place}" for place in range(count))


@given(st.text("ab\n .", max_size=9000))
def test_nothing_is_lost_but_blanks(text):
    found = [*passages(text)]
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(one.strip() for one in found)
    assert max((len(one) for one in found), default=0) <= 3 * PASSAGE + 2
    assert all(len(one) >= PASSAGE for one in found[:-1])


def test_a_book_in_one_file_is_dealt_to_all_parts(tmp_path):
    book = tmp_path / "book.txt"
    book.write_text("\ufeff" + "\n\n".join(words(60, f"part{place}-") for place in range(120)))
    found = load_dataset(str(book))
    assert found.rows[0].id == "book.txt/1"
    assert found.rows[0].fields["text"].startswith("part0-0 part0-1")
    assert all(len(part) > 2 for part in split(found))
    assert [row.id for row in load_dataset(str(tmp_path)).rows] == [row.id for row in found.rows]


def test_of_many_files_each_stays_in_one_part(tmp_path):
    for name in range(20):
        place = tmp_path / ("deep/er" if name % 2 else "") / f"{name}.md"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n\n".join(words(400, f"{name}-{part}-") for part in range(3)))
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.txt").write_text("hidden")
    found = load_dataset(str(tmp_path))
    assert len(found.rows) == 60
    parts = [{row.id.partition("#")[0] for row in part} for part in split(found)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert "deep/er/1.md" in set.union(*parts)


def test_a_passage_that_stands_in_two_files_is_one_row(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text("the same licence")
    assert [row.id for row in load_dataset(str(tmp_path)).rows] == ["a.txt/1"]


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "has no text"), (b" \n\n ", "has no text"), (b"\xff\xfe\x00", "is not utf-16")]
)
def test_what_is_no_text(content, said, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    for given_place in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(DataError, match=said):
            load_dataset(str(given_place))


def test_sounds_go_before_the_texts_beside_them(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "a.txt").write_text("what is said")
    assert [row.media for row in load_dataset(str(tmp_path)).rows] == ["audio"]
