"""The built-in sets that only calibrate: what they hold, whose it is, and that nothing is judged by them."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penjing.data.audio import read_audio
from penjing.data.content import content_key
from penjing.data.image import read_image
from penjing.data.row import DataSet, Row
from penjing.data.rows import CONTENT_COLUMNS, TEXT_COLUMNS
from penjing.data.source import CALIBRATION, load_dataset
from penjing.data.split import check_disjoint, judging_rows, split, split_with_calibration
from penjing.errors import DataError

pytestmark = pytest.mark.shop
ROOT = Path(__file__).parents[2]
NAMES = ("calibration-audio", "calibration-images", "calibration-text")
MEDIA_ENDINGS = {".ogg", ".jpg", ".png"}
LARGEST_BYTES = {"audio": 1_500_000, "images": 1_500_000, "text": 300_000}
LONGEST_SIDE_PIXELS = {".jpg": 384, ".png": 256}


@pytest.fixture(scope="module", params=NAMES)
def material(request: pytest.FixtureRequest) -> DataSet:
    return load_dataset(request.param)


def counts(dataset: DataSet, column: str) -> Counter[str]:
    return Counter(row.fields.get(column, "") for row in dataset.rows)


def path_of(row: Row) -> Path:
    assert isinstance(row.file, Path)
    return row.file


def test_every_row_calibrates_or_selects(material: DataSet) -> None:
    assert material.name in NAMES
    assert set(material.parts) == {row.id for row in material.rows}
    parts = Counter(material.parts.values())
    assert set(parts) == {"calibrate", "select"}
    assert parts["calibrate"] > parts["select"] >= len(material.rows) // 4


def test_every_row_has_words_a_language_and_a_source(material: DataSet) -> None:
    for row in material.rows:
        words = row.fields.get("text") or row.fields.get("answer")
        assert words, row.id
        assert words == words.strip("\n")
        assert re.fullmatch("[a-z]{2}", row.fields["language"]), row.id
        assert row.fields["source"], row.id
        assert ("question" in row.fields) == ("answer" in row.fields)


def test_no_content_is_there_twice(material: DataSet) -> None:
    assert len({content_key(row) for row in material.rows}) == len(material.rows)


def test_none_of_it_judges(material: DataSet) -> None:
    speech = load_dataset("speech")
    for refused, sets in (
        (judging_rows, (material,)),
        (split, (material,)),
        (split_with_calibration, (material, speech)),
    ):
        with pytest.raises(DataError) as caught:
            refused(*sets)
        assert caught.value.message == f"{material.name} has no rows to judge"
        assert "--calibration" in caught.value.hint


def test_it_calibrates_beside_a_set_that_judges(material: DataSet) -> None:
    text = load_dataset("text")
    parts = split_with_calibration(text, material)
    assert {row.id for row in parts.calibrate} == {name for name, part in material.parts.items() if part == "calibrate"}
    assert {row.id for row in parts.select} == {name for name, part in material.parts.items() if part == "select"}
    assert parts.judge == judging_rows(text)


@pytest.mark.parametrize("name", LARGEST_BYTES)
def test_a_folder_is_small_and_holds_nothing_else(name: str) -> None:
    files = {path.name: path for path in (CALIBRATION / name).iterdir()}
    table = files["passages.jsonl" if name == "text" else "metadata.jsonl"]
    listed = {json.loads(line).get("file_name") for line in table.read_text(encoding="utf8").splitlines()} - {None}
    assert set(files) == listed | {table.name, "README.md"}
    assert sum(path.stat().st_size for path in files.values()) <= LARGEST_BYTES[name]


@pytest.mark.parametrize("name", LARGEST_BYTES)
def test_the_rights_of_every_file_are_told(name: str) -> None:
    lines = (CALIBRATION / name / "README.md").read_text(encoding="utf8").splitlines()
    rights = "\n".join(line for line in lines if line.startswith("|"))
    for path in (CALIBRATION / name).iterdir():
        if path.suffix not in MEDIA_ENDINGS:
            continue
        series = re.fullmatch(r"(.+)-\d{3}", path.stem)
        assert f"`{series[1]}-000` …" in rights if series else f"`{path.name}`" in rights, path.name
    assert "written for penjing" in "\n".join(lines)[:1200] or name == "audio"


def test_attribution_goes_with_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert 'license = "Apache-2.0 AND CC-BY-3.0 AND CC-BY-4.0"' in project
    assert '"NOTICE", "src/penjing/data/builtin/calibration/*/README.md"' in project
    for file in (ROOT / "NOTICE", CALIBRATION / "audio" / "README.md"):
        text = " ".join(file.read_text(encoding="utf8").split())
        for needed in ("FLEURS", "arXiv:2205.12446", "Conneau", "Google", "licenses/by/4.0/", "licenses/by/3.0/"):
            assert needed in text, (file.name, needed)
        for needed in ("Carlo Flora", "Maxim Topal", "hanges"):
            assert needed in text, (file.name, needed)


def test_sounds_are_of_many_languages_readers_and_lengths() -> None:
    dataset = load_dataset("calibration-audio")
    assert counts(dataset, "source") == {"people": 49}
    assert counts(dataset, "language") == {"de": 10, "fr": 10, "it": 12, "ru": 12, "en": 5}
    assert set(counts(dataset, "speaker")) == {"", "librivox-austen", "carlo-flora", "ivrvoice-ru"}
    assert [row.fields.get("speaker") for row in dataset.rows if row.id.startswith("fleurs")] == [None] * 20
    lengths_s = []
    for row in dataset.rows:
        samples = read_audio(path_of(row), 16000)
        lengths_s.append(samples.size / 16000)
        assert np.isfinite(samples).all()
        assert 0.003 < np.abs(samples).max() <= 1.05, row.id
    assert 1.5 < min(lengths_s) < 4
    assert max(lengths_s) > 20


def test_pictures_are_photographs_and_drawings() -> None:
    dataset = load_dataset("calibration-images")
    assert len({row.file for row in dataset.rows if row.fields["source"] == "photograph"}) == 20
    assert len({row.file for row in dataset.rows if row.fields["source"] == "drawing"}) == 14
    assert len({row.file for row in dataset.rows if "text" in row.fields}) == 34
    assert sum("question" in row.fields for row in dataset.rows) >= 10
    shades = []
    for row in dataset.rows:
        path = path_of(row)
        image = read_image(path)
        assert max(image.size) <= LONGEST_SIDE_PIXELS[path.suffix], row.id
        assert (path.suffix == ".png") == (row.fields["source"] == "drawing")
        shades.append(float(np.asarray(image.convert("L"), np.float32).mean()))
    assert min(shades) < 40
    assert max(shades) > 200


def test_rows_of_one_picture_are_in_one_part() -> None:
    dataset = load_dataset("calibration-images")
    parts: dict[str, set[str]] = {}
    for row in dataset.rows:
        parts.setdefault(path_of(row).stem.partition("-")[0], set()).add(dataset.parts[row.id])
    assert [name for name, named in parts.items() if len(named) > 1] == []


def test_passages_are_of_many_registers_and_scripts() -> None:
    dataset = load_dataset("calibration-text")
    registers, languages = counts(dataset, "source"), counts(dataset, "language")
    assert set(registers) == {
        "addresses", "chat", "code", "dialogue", "instructions", "legal", "mathematics", "news", "prose", "questions",
        "table",
    }  # fmt: skip
    assert min(registers.values()) >= 8
    assert len(dataset.rows) >= 120
    assert {"en", "de", "fr", "es", "pt", "it", "ru", "zh", "ja", "ar", "hi"} <= set(languages)
    assert languages["en"] < 0.6 * len(dataset.rows)
    letters = {character for row in dataset.rows for character in row.fields["text"]}
    for script in ("çß", "жя", "的了", "のは", "ال", "है", "≈²", "{}"):
        assert set(script) <= letters, script


def test_english_sentences_are_not_those_of_the_set_that_judges() -> None:
    judged = {row.fields["text"].lower().strip(".?!") for row in judging_rows(load_dataset("speech"))}
    for name in ("calibration-audio", "calibration-text"):
        assert not judged & {row.fields["text"].lower().strip(".?!") for row in load_dataset(name).rows}


def test_where_a_row_is_from_is_no_content(tmp_path: Path) -> None:
    assert set(TEXT_COLUMNS) - set(CONTENT_COLUMNS) == {"source"}
    row = Row("a", {"text": "same words", "source": "people"})
    other = replace(row, id="b", fields={"text": "same words", "source": "synthetic"})
    assert content_key(row) == content_key(other)
    with pytest.raises(DataError, match="have the same content"):
        check_disjoint(type(split(load_dataset("speech")))((row,), (), (other,)))
    table = tmp_path / "rows.jsonl"
    table.write_text('{"source": "people"}\n', encoding="utf8")
    with pytest.raises(DataError, match="none of the columns text"):
        load_dataset(str(table))
    table.write_text('{"text": "a", "source": "people"}\n{"source": "people"}\n', encoding="utf8")
    with pytest.raises(DataError, match="line 2 has neither a file nor a text"):
        load_dataset(str(table))
    table.write_text('{"text": "a", "source": ["x", "y"]}\n{"text": "b", "source": "people"}\n', encoding="utf8")
    assert [dict(read.fields) for read in load_dataset(str(table)).rows] == [
        {"text": "a"}, {"text": "b", "source": "people"},
    ]  # fmt: skip
