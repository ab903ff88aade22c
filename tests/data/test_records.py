"""Tables read line by line, and every way in which a line can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.data.records import label_names, named, read_records
from penjing.errors import DataError, MissingExtra

pytestmark = pytest.mark.shop


def table(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_json_lines_know_their_line(tmp_path: Path) -> None:
    records = read_records(table(tmp_path, "a.jsonl", '\ufeff{"text": "één"}\r\n\n{"text": "two", "n": [1]}'))
    assert [record.place for record in records] == ["a.jsonl, line 1", "a.jsonl, line 3"]
    assert [record.values["text"] for record in records] == ["één", "two"]


def test_csv_with_quotes_and_lines_inside_of_cells(tmp_path: Path) -> None:
    content = '\ufefffile_name, text\na.wav,"one, two"\n"b.wav","three\nfour"\n\nc.wav,five\n'
    records = read_records(table(tmp_path, "metadata.csv", content))
    assert [record.place for record in records] == [f"metadata.csv, line {number}" for number in (2, 3, 6)]
    assert [record.values["text"] for record in records] == ["one, two", "three\nfour", "five"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": }\n', "a.jsonl, line 2 is not valid JSON"),
        ('{"text": "a"}\n["text"]\n', "a.jsonl, line 2 is not a JSON object"),
        (
            '{"text": "ä ö"}\n\n{"text": "ü'.encode() + b'\xff"}\n',
            "a.jsonl, line 3 is neither UTF-8 (byte 32 of the file) nor in a known encoding",
        ),
        ("[" * 100_000, "a.jsonl, line 1 is nested more than 100 levels deep"),
    ],
)
def test_bad_json_lines(content: str | bytes, message: str, tmp_path: Path) -> None:
    assert error_of(table(tmp_path, "a.jsonl", content)).message == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file_name,text\na.wav,one,two\n", "a.csv, line 2 has 3 cells, the first line 2"),
        ("file_name,text\na.wav,one\nb.wav\n", "a.csv, line 3 has 1 cells, the first line 2"),
        (
            "file_name,text\na.wav,ä ö".encode() + b"\xff\n",
            "a.csv, line 2 is neither UTF-8 (byte 27 of the file) nor in a known encoding",
        ),
        ('file_name,text\na.wav,"one\n', "a.csv, line 2 is not CSV: unexpected end of data"),
    ],
)
def test_bad_csv(content: str | bytes, message: str, tmp_path: Path) -> None:
    assert error_of(table(tmp_path, "a.csv", content)).message == message


def test_a_table_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    assert "a.jsonl cannot be read" in error_of(tmp_path / "a.jsonl").message


@given(content=st.binary(max_size=200))
def test_any_bytes_are_records_or_a_data_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("table")
    for name in ("a.jsonl", "a.csv"):
        try:
            said = [record.place for record in read_records(table(folder, name, content))]
        except DataError as error:
            said = [error.message]
        assert all(name in place for place in said)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "utf-16-le"])
def test_tables_of_spreadsheets_are_read_in_their_encoding(encoding: str, tmp_path: Path) -> None:
    rows = table(tmp_path, "a.csv", "file_name,text\na.wav,Größe und Maß für Äpfel\n".encode(encoding))
    assert [dict(record.values) for record in read_records(rows)] == [
        {"file_name": "a.wav", "text": "Größe und Maß für Äpfel"}
    ]
    lines = table(tmp_path, "a.jsonl", '{"text": "Größe und Maß für Äpfel"}\n'.encode(encoding))
    assert [dict(record.values) for record in read_records(lines)] == [{"text": "Größe und Maß für Äpfel"}]


def test_class_numbers_become_names() -> None:
    metadata = (
        b'{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "n": {"_type": "Value"}}}}'
    )
    names = label_names(metadata)
    assert names == {"label": ["cat", "dog"]}
    assert named({"label": 1, "n": 1}, names) == {"label": "dog", "n": 1}
    assert named({"label": -1}, names) == {"label": None}
    assert [label_names(bad) for bad in (b"", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}')] == [{}] * 4


def test_parquet_as_datasets_writes_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    made.to_parquet(str(tmp_path / "pets.parquet"))
    records = read_records(tmp_path / "pets.parquet")
    assert [record.values["label"] for record in records] == ["dog", "cat"]
    assert records[1].place == "pets.parquet, row 2"


def test_bad_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert "not a Parquet file" in error_of(table(tmp_path, "a.parquet", b"PAR1 but not really")).message


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingExtra) as caught:
        read_records(table(tmp_path, "a.parquet", b""))
    assert "penjing[compress]" in caught.value.hint
