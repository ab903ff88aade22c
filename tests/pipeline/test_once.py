"""A run does nothing twice: one revision, one hash, one opening of a graph, one decoding to compare contents."""

from __future__ import annotations

import functools
from collections import Counter
from types import SimpleNamespace

import pytest

import penjing
from penjing.data import content
from penjing.data.row import Row
from penjing.errors import ModelError
from penjing.models import checkpoint, hub
from penjing.models.families.whisper import Whisper
from penjing.models.open import open_model, reopen
from penjing.pipeline.steps import Calibration
from penjing.runtimes.engine import Engine
from penjing.stamps import Memo
from tiny_models import TINY


@pytest.fixture
def counted(monkeypatch):
    """Count calls of a function or method, by some of its arguments."""
    counts: Counter[str] = Counter()

    def count(owner, name, key=lambda *_: ""):
        function = getattr(owner, name)

        @functools.wraps(function)
        def counting(*arguments, **named):
            counts[f"{name} {key(*arguments)}".strip()] += 1
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    count.counts = counts
    return count


def test_a_run_does_nothing_twice(whisper_folder, sound_folder, tmp_path, counted, monkeypatch):
    monkeypatch.setattr("penjing.stamps.SETTLED_NS", -(10**18))  # the files were written just now
    monkeypatch.setattr(checkpoint, "_DIGESTS", Memo())
    monkeypatch.setattr(content, "_OF_FILES", {"image": Memo(), "audio": Memo()})
    counted(checkpoint, "_sha256")
    counted(content, "_decoded_key", lambda source, media: source)
    counted(Whisper, "components")
    counted(Engine, "open", lambda engine, path: f"{engine.name} {path.parent.parent.name} {path.name}")
    found = penjing.compress(
        whisper_folder, tmp_path / "out", data=sound_folder, goals=["size_bytes<=500%"], quick=True, threads=1
    )
    counts = counted.counts
    assert found["published"]
    assert counts.pop("_sha256") == 1
    assert counts.pop("components") == 4, "before anything, of the source, of the result, of the source in PyTorch"
    assert set(counts.values()) == {1}, counts
    assert len([name for name in counts if name.startswith("open ")]) == 4
    assert len([name for name in counts if name.startswith("_decoded_key")]) == 6, "rows that steps see"


def test_a_hub_id_is_one_revision_within_a_run(counted, monkeypatch):
    revisions = iter("abc")
    monkeypatch.setattr(hub, "_from_hub", lambda name: hub.Place(hub.Path(name), name, next(revisions)))
    assert [hub.locate("some/model").revision for _ in range(2)] == ["a", "b"]
    with hub.pinned():
        first = hub.locate("some/model")
        with hub.pinned():
            assert hub.locate("some/model") == first
        assert hub.locate("some/model") == first
        assert first.revision == "c"


def test_a_source_that_changed_meanwhile_is_refused(tmp_path):
    folder = TINY["bert"](tmp_path / "bert")
    model = open_model(str(folder))
    assert reopen(model.origin).source == model.source
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match="has changed since it was opened"):
        reopen(model.origin)


def test_rows_are_read_when_they_are_asked_for():
    read = []

    def batches(settings, folder, rows):
        for row in rows:
            read.append(row.id)
            if row.id != "a":  # which lacks something
                yield {"name": row.id}

    model = SimpleNamespace(family=SimpleNamespace(batches=batches), settings={}, folder=None)
    calibration = Calibration((), (), "rows", ([Row("a"), Row("b"), Row("c")], ())).read_by(model)
    assert calibration.batches
    assert not calibration.select
    assert read == []
    assert calibration.batches[0] == calibration.batches[0] == {"name": "b"}
    assert read == ["a", "b"]
    assert [one["name"] for one in calibration.batches] == ["b", "c"]
    assert (len(calibration.batches), calibration.batches[-1]) == (2, {"name": "c"})
    assert read == ["a", "b", "a", "b", "c"]
