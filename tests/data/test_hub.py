"""Sets of the hub: offline a clear answer at once, online the encoded rows of one split."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from penjing.data import hub
from penjing.data.source import load_dataset
from penjing.errors import DataError

datasets = pytest.importorskip("datasets")


def error_of(spec: str) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(spec)
    assert "\n" not in caught.value.message
    return caught.value


def online(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def dataset_info(self: Any, name: str, timeout: float) -> Any:
        assert timeout <= 10
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)


def test_offline_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started = time.monotonic()
    error = error_of("nobody/nothing")
    assert time.monotonic() - started < 20
    assert "HF_HUB_OFFLINE is set" in error.message
    assert "give a folder" in error.hint


def test_no_network_is_said_without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    online(monkeypatch, OSError("no route to host"))
    error = error_of("nobody/nothing:default")
    assert error.message == "nobody/nothing: no such folder, and the hub does not answer (OSError)"
    assert "HF_HUB_OFFLINE=1" in error.hint


@pytest.mark.parametrize(
    ("kind", "message"), [("RepositoryNotFoundError", "nor a data set on the hub"), ("GatedRepoError", "is gated")]
)
def test_unknown_and_gated_sets(kind: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = pytest.importorskip("huggingface_hub.errors")
    answer = getattr(errors, kind).__new__(getattr(errors, kind))
    online(monkeypatch, answer)
    assert message in error_of("nobody/nothing").message


def open_as(monkeypatch: pytest.MonkeyPatch, made: Any, splits: list[str]) -> list[dict[str, Any]]:
    """Let the hub answer with a set made here; return the arguments it was asked with."""
    asked: list[dict[str, Any]] = []

    def opened(name: str, configuration: str | None, **options: Any) -> Any:
        asked.append({"name": name, "configuration": configuration, **options})
        return made

    online(monkeypatch, SimpleNamespace())
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, configuration: splits)
    monkeypatch.setattr(datasets, "load_dataset", opened)
    return asked


def test_rows_of_the_test_split_with_encoded_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "audio": [{"bytes": b"RIFF", "path": "a.wav"}, {"bytes": b"RIFX", "path": "b.wav"}],
        "sentence": ["one", "two"],
    }
    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    asked = open_as(monkeypatch, made, ["train", "test"])
    data = load_dataset("someone/speech:de", limit=1)
    assert asked == [{"name": "someone/speech", "configuration": "de", "split": "test", "streaming": True}]
    (row,) = data.rows
    assert (row.id, row.media, row.file, dict(row.fields)) == ("a.wav", "audio", b"RIFF", {"text": "one"})


def test_class_numbers_become_names(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    asked = open_as(monkeypatch, made, ["weird"])
    assert [row.fields["label"] for row in load_dataset("someone/labels").rows] == ["yes", "no"]
    assert asked[0]["split"] == "weird"
    assert asked[0]["streaming"] is False


def test_wrong_columns_and_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    open_as(monkeypatch, datasets.Dataset.from_dict({"prose": ["a"]}), ["train"])
    assert "none of the columns" in error_of("someone/prose").message
    rows = {"image": [{"bytes": b"12345", "path": "a.png"}]}
    features = datasets.Features({"image": datasets.Image()})
    open_as(monkeypatch, datasets.Dataset.from_dict(rows, features=features), ["train"])
    monkeypatch.setattr(hub, "MOST_BYTES", 4)
    assert "is larger than" in error_of("someone/large").message


def test_the_cache_is_read_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"train": None, "validation": datasets.Dataset.from_dict({"text": ["cached"]})}
    open_as(monkeypatch, made, [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_dataset("someone/cached").rows[0].fields["text"] == "cached"


def test_whatever_datasets_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, configuration: str | None) -> list[str]:
        cause = RuntimeError("Dataset scripts are no longer supported\nand more lines")
        raise ValueError("An error occurred") from cause

    open_as(monkeypatch, None, [])
    monkeypatch.setattr(datasets, "get_dataset_split_names", fail)
    error = error_of("someone/scripted")
    assert error.message == "someone/scripted cannot be read from the hub: Dataset scripts are no longer supported"
