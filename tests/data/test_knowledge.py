"""Knowledge in passages: sections, paragraphs, rows, each with a name to be cited by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import penjing
from penjing.data.knowledge import MOST_WORDS, Passage, read_knowledge
from penjing.errors import DataError

pytestmark = pytest.mark.shop

SUPPORT = Path(penjing.__file__).parent / "data" / "builtin" / "support"


def test_sections_rows_and_paragraphs(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.md").write_text("before\n\n# One\n\n## Two #\nsecond\n\n```\n# no heading\n```\n# One\nagain\n")
    (tmp_path / "deep" / "b.csv").write_text('question,answer,more\n"Why, then?","Because,\nof that",x\nNot?,\n')
    (tmp_path / "deep" / "c.txt").write_text("\ufeffall of it")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert read_knowledge(tmp_path) == [
        Passage("a.md", "a.md", "", "before"),
        Passage("a.md#Two", "a.md", "Two", "second\n\n```\n# no heading\n```"),
        Passage("a.md#One", "a.md", "One", "again"),
        Passage("deep/b.csv#Why, then?", "deep/b.csv", "Why, then?", "Because,\nof that"),
        Passage("deep/c.txt", "deep/c.txt", "", "all of it"),
    ]


def test_pictures_belong_to_the_passages_that_show_them(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.md").write_text(
        "# One\n![A pot](my%20pot.jpg 'small') and ![](../b.png)\n# Two\n![x](http://a/b.png) ![y](c.pdf)"
    )
    (tmp_path / "b.csv").write_text("question,answer,picture\nPot?,Yes.,pots/a.png\nNo pot?,No.,\n")
    (tmp_path / "c.txt").write_text("no picture")
    assert [(one.text, one.pictures) for one in read_knowledge(tmp_path)] == [
        ("Yes.", ("pots/a.png",)),
        ("No.", ()),
        ("no picture", ()),
        ("A pot and b", ("deep/my pot.jpg", "b.png")),
        ("x y", ()),
    ]


def test_long_sections_are_cut_between_paragraphs_and_numbered(tmp_path):
    paragraphs = [" ".join([name] * 90) for name in "abc"]
    (tmp_path / "long.md").write_text("# All\n\n" + "\n\n".join(paragraphs))
    found = read_knowledge(tmp_path)
    assert [one.id for one in found] == ["long.md#All", "long.md#All (2)"]
    assert "\n\n".join(one.text for one in found) == "\n\n".join(paragraphs)
    assert all(len(one.text.split()) <= MOST_WORDS for one in found)


def test_a_long_paragraph_is_cut_between_sentences(tmp_path):
    sentences = [f"Sentence {number} has a few words that say what number {number} says." for number in range(90)]
    (tmp_path / "long.txt").write_text("Short.\n\n" + " ".join(sentences))
    found = [one.text for one in read_knowledge(tmp_path)]
    assert len(found) > 4
    assert all(len(text.split()) <= MOST_WORDS for text in found)
    assert " ".join(found).replace("\n\n", " ") == "Short. " + " ".join(sentences)
    assert all(text.endswith(".") for text in found)


@pytest.mark.parametrize(
    ("text", "longest"),
    [("word " * 1000, 5 * MOST_WORDS), ("x" * 5000, 5000), ("盆景要浇水。" * 300, 2 * MOST_WORDS),
     ("松" * 1000, MOST_WORDS), ("| a row | of a table |\n" * 100, 5 * MOST_WORDS)],
    ids=["sentence", "word", "chinese", "letters", "table"],
)  # fmt: skip
def test_what_has_no_paragraphs_is_cut_all_the_same(text, longest, tmp_path):
    (tmp_path / "long.txt").write_text(text)
    found = [one.text for one in read_knowledge(tmp_path)]
    assert len(found) == 1 if text.startswith("x") else len(found) >= 4
    assert max(len(one) for one in found) <= longest
    assert "".join("".join(found).split()) == "".join(text.split())
    if "。" in text:
        assert all(one.endswith("。") for one in found)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds nothing to know"),
        ({"a.md": b"# Only a title"}, "holds nothing to know"),
        ({"a.md": b"\xff\xfe\x00ba"}, "is not utf-16"),
        ({"a.csv": b"q,a\n1,2\n"}, "no columns `question` and `answer`"),
    ],
)
def test_what_is_no_knowledge(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_knowledge(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_knowledge(tmp_path / "gone")


def test_every_question_of_the_built_in_desk_names_a_passage_or_none():
    ids = {one.id for one in read_knowledge(SUPPORT / "knowledge")}
    lines = (SUPPORT / "questions.jsonl").read_text(encoding="utf8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert {one["passage"] for one in questions if one["passage"]} == ids
    unanswerable = [one for one in questions if one["passage"] is None]
    assert len(questions) >= 120
    assert len(unanswerable) * 2 == len(questions)
    assert len({one["question"] for one in questions}) == len(questions)
    for part in ("tune", "score"):
        assert sum(one["part"] == part for one in unanswerable) * 4 == len(questions)
