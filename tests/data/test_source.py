"""Data sets from folders, tables and built-in names; every bad one is one line and a hint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from penjing.data.row import DataSet
from penjing.data.source import load_dataset
from penjing.errors import DataError

pytestmark = pytest.mark.shop


def sound(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).standard_normal(800).astype(np.float32) / 9, 8000)


def image(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(path)


def metadata(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "metadata.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return folder / name


def error_of(spec: Path | str, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(str(spec), **options)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        sound(tmp_path / "set" / f"{number}.wav", number)
    return tmp_path / "set"


def spoken(data: DataSet) -> dict[str, str]:
    return {row.id: row.fields["text"] for row in data.rows}


def test_metadata_in_json_lines(folder: Path) -> None:
    metadata(folder, [{"file_name": f"{n}.wav", "text": f"say {n}", "language": "en", "extra": [n]} for n in (2, 0, 1)])
    data = load_dataset(str(folder))
    assert data.name == "set"
    assert [row.id for row in data.rows] == ["2.wav", "0.wav", "1.wav"]
    assert dict(data.rows[0].fields) == {"text": "say 2", "language": "en"}
    assert data.rows[0].file == folder / "2.wav"
    assert data.rows[0].media == "audio"
    assert data.parts == {}


def test_metadata_in_csv_and_in_a_subfolder(tmp_path: Path) -> None:
    image(tmp_path / "deep" / "a.png")
    (tmp_path / "metadata.csv").write_text('file_name,question,answer\ndeep/a.png,"what, here?",3\n')
    (row,) = load_dataset(str(tmp_path)).rows
    assert (row.id, row.media, dict(row.fields)) == ("deep/a.png", "image", {"question": "what, here?", "answer": "3"})


def test_numbers_are_text_and_synonyms_are_known(folder: Path) -> None:
    metadata(folder, [{"file_name": "0.wav", "transcription": "hi", "label": 7}])
    assert dict(load_dataset(str(folder)).rows[0].fields) == {"text": "hi", "label": "7"}


def test_parts_of_a_set_are_kept(folder: Path) -> None:
    parts = ["judge", "select", "calibrate"]
    metadata(folder, [{"file_name": f"{n}.wav", "text": str(n), "part": part} for n, part in enumerate(parts)])
    assert load_dataset(str(folder)).parts == {"0.wav": "judge", "1.wav": "select", "2.wav": "calibrate"}
    metadata(folder, [{"file_name": f"{n}.wav", "text": str(n), "part": "engine"} for n in range(3)])
    assert load_dataset(str(folder)).parts == {}


def test_several_rows_of_one_file(folder: Path) -> None:
    metadata(folder, [{"file_name": "0.wav", "text": text} for text in ("a", "b", "c")])
    assert [row.id for row in load_dataset(str(folder)).rows] == ["0.wav", "0.wav#2", "0.wav#3"]


def test_transcripts_beside(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_bytes(f"\ufeffsagt größe {number}\r\n".encode())
    assert spoken(load_dataset(str(folder))) == {f"{n}.wav": f"sagt größe {n}" for n in range(3)}


def test_classes_as_subfolders(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for number in range(2):
            image(tmp_path / label / f"{number}.jpg")
    (tmp_path / ".cache").mkdir()
    rows = load_dataset(str(tmp_path)).rows
    assert [(row.id, row.fields["label"]) for row in rows] == [
        ("cat/0.jpg", "cat"),
        ("cat/1.jpg", "cat"),
        ("dog/0.jpg", "dog"),
        ("dog/1.jpg", "dog"),
    ]


def test_files_without_any_text(folder: Path) -> None:
    sound(folder / "._hidden.wav")
    assert [dict(row.fields) for row in load_dataset(f"{folder}/").rows] == [{}, {}, {}]


def test_json_lines_of_text(tmp_path: Path) -> None:
    path = metadata(tmp_path, [{"text": "one"}, {"text": "two"}, {"id": "third", "text": "one"}], "prose.jsonl")
    data = load_dataset(str(path))
    assert data.name == "prose.jsonl"
    assert [row.fields["text"] for row in data.rows] == ["one", "two", "one"]
    assert [len(row.id) for row in data.rows] == [16, 16, 5]
    again = load_dataset(str(metadata(tmp_path, [{"text": "two"}, {"text": "one"}], "prose.jsonl")))
    assert {row.id for row in again.rows} == {row.id for row in data.rows[:2]}


def test_json_lines_with_files_beside(folder: Path) -> None:
    path = metadata(folder, [{"audio": "1.wav", "text": "x"}], "list.jsonl")
    assert load_dataset(str(path)).rows[0].file == folder / "1.wav"


def test_parquet_with_encoded_media(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    image(tmp_path / "red.png", 200)
    content = (tmp_path / "red.png").read_bytes()
    rows = {"image": [{"bytes": content, "path": "red.png"}, {"bytes": content, "path": None}], "text": ["a", "b"]}
    features = datasets.Features({"image": datasets.Image(decode=False), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "x.parquet"))
    first, second = load_dataset(str(tmp_path / "x.parquet")).rows
    assert (first.id, first.media, first.file) == ("red.png", "image", content)
    assert len(second.id) == 16


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"file_name": "0.wav", "text": "a"}, {"file_name": "9.wav", "text": "b"}], "line 2: no such file: 9.wav"),
        ([{"file_name": "0.wav", "text": "a"}, {"text": "b"}], "line 2 has no file_name"),
        ([{"file_name": "0.wav", "text": "a"}] * 2, "line 2 repeats metadata.jsonl, line 1"),
        ([{"file_name": "0.wav", "text": ["a"]}], "line 1: text is a list"),
        ([{"file_name": "../set/0.wav", "text": "a"}], "line 1: ../set/0.wav is outside of the folder"),
        ([{"file_name": "/etc/passwd", "text": "a"}], "line 1: /etc/passwd is outside of the folder"),
        ([{"file_name": "metadata.jsonl", "text": "a"}], "line 1: metadata.jsonl is neither an image nor a sound"),
        ([{"file_name": 3, "text": "a"}], "line 1: file_name is not a file name"),
        ([{"text": "a"}], "metadata.jsonl has no column 'file_name'"),
        ([{"file_name": "0.wav", "txet": "a"}], "metadata.jsonl has none of the columns text, label"),
        ([], "metadata.jsonl has no rows"),
    ],
)
def test_bad_metadata(rows: list[dict[str, Any]], message: str, folder: Path) -> None:
    metadata(folder, rows)
    assert message in error_of(folder).message


def test_bad_ids_and_parts(folder: Path) -> None:
    rows = [{"file_name": f"{n}.wav", "text": str(n), "id": "same"} for n in range(2)]
    metadata(folder, rows)
    assert "line 2 has the id 'same' of metadata.jsonl, line 1" in error_of(folder).message
    metadata(folder, [{"file_name": "0.wav", "text": "a", "part": "judge"}, {"file_name": "1.wav", "part": "judges"}])
    error = error_of(folder)
    assert error.message == "metadata.jsonl, line 2: there is no part 'judges'"
    assert error.hint == "did you mean 'judge'?"


def test_a_misspelt_column_gets_a_suggestion(folder: Path) -> None:
    metadata(folder, [{"file_name": "0.wav", "extra": 1, "txet": "a"}])
    assert error_of(folder).hint == "did you mean 'text'?"


def test_bad_transcripts(folder: Path) -> None:
    (folder / "0.txt").write_text("one")
    assert error_of(folder).message == "1.wav has no transcript 1.txt"
    (folder / "1.txt").write_text(" \n")
    assert error_of(folder).message == "1.txt is empty"
    (folder / "1.txt").write_bytes("ü ö".encode() + b"\xff")
    assert error_of(folder).message == "1.txt, line 1 is neither UTF-8 (byte 6 of the file) nor in a known encoding"


def test_bad_folders(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is empty" in error_of(tmp_path / "empty").message
    (tmp_path / "empty" / "notes.docx").touch()
    error = error_of(tmp_path / "empty")
    assert "no images, sounds or texts" in error.message
    assert error.hint == "it has notes.docx"
    image(folder / "cat" / "a.png")
    assert "both beside and inside" in error_of(folder).message
    metadata(folder, [])
    (folder / "metadata.csv").touch()
    assert "both metadata.jsonl and metadata.csv" in error_of(folder).message


def test_a_folder_one_too_high_gets_a_suggestion(tmp_path: Path) -> None:
    image(tmp_path / "train" / "cat" / "a.png")
    assert error_of(tmp_path).hint == f"did you mean {tmp_path / 'train'}?"
    metadata(tmp_path / "train", [{"file_name": "cat/a.png", "text": "a"}])
    assert error_of(tmp_path).hint == f"did you mean {tmp_path / 'train'}?"


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    assert "cannot be read: Permission denied" in error_of(tmp_path).message


def test_bad_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert error_of("speeech").hint.startswith("did you mean 'speech'?")
    assert "no such data: none.jsonl" in error_of("none.jsonl").message
    assert "no such data: ./none" in error_of("./none").message
    (tmp_path / "data").mkdir()
    (tmp_path / "notes.docx").touch()
    assert "no such data: data/none" in error_of("data/none").message
    assert "notes.docx is no data set" in error_of("notes.docx").message
    assert "limit of 0 rows" in error_of("speech", limit=0).message


def test_bad_tables(tmp_path: Path) -> None:
    assert "none of the columns" in error_of(metadata(tmp_path, [{"prose": "a"}], "a.jsonl")).message
    assert "a.jsonl has no rows" in error_of(metadata(tmp_path, [], "a.jsonl")).message
    error = error_of(metadata(tmp_path, [{"text": "a"}, {"text": ""}], "a.jsonl"))
    assert error.message == "a.jsonl, line 2 has neither a file nor a text"
    assert "line 2 repeats" in error_of(metadata(tmp_path, [{"text": "a"}] * 2, "a.jsonl")).message
    assert "every row is empty" in error_of(metadata(tmp_path, [{}], "a.jsonl")).hint


def test_limit_is_a_fixed_spread_choice(tmp_path: Path) -> None:
    for label in ("cat", "dog", "eel"):
        for number in range(20):
            image(tmp_path / label / f"{number}.png")
    rows = load_dataset(str(tmp_path), limit=12).rows
    assert len(rows) == 12
    assert {row.fields["label"] for row in rows} == {"cat", "dog", "eel"}
    assert [row.id for row in rows] == sorted((row.id for row in rows), key=lambda i: (i[:3], i))
    assert {row.id for row in load_dataset(str(tmp_path), limit=6).rows} < {row.id for row in rows}
    assert len(load_dataset(str(tmp_path), limit=999).rows) == 60


def test_limit_keeps_the_shares_of_the_parts() -> None:
    parts = list(load_dataset("speech", limit=10).parts.values())
    assert {part: parts.count(part) for part in parts} == {"judge": 6, "select": 2, "calibrate": 2}
    assert len(set(load_dataset("speech", limit=5).parts.values())) == 3
