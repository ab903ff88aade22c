"""A teacher is asked once; what it said is kept and read back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from penjing.errors import DataError
from penjing.teach.answers import Answers
from penjing.teach.cache import AnswerCache, check_room, stored_bytes
from penjing.teach.mapping import layer_map
from penjing.teach.teacher import Teacher, identity
from penjing.tensor.distill import best_of


def lesson_maker(model, opened, layers=None, temperature=2.0):
    return Teacher(opened, identity(model), layers or {}, True, temperature)


@pytest.fixture
def items(fresh):
    model = fresh("whisper")
    return [model.family.probe(model.net, seed) for seed in range(5)]


def test_what_is_kept_is_what_was_said(fresh, items, tmp_path):
    model = fresh("whisper")
    layers = layer_map(model, model)
    cache = lesson_maker(model, lambda: model, layers).answers(items, tmp_path)
    with torch.no_grad():
        said = Answers(model, items, layers, True).ask(items)
    for number, answer in enumerate(said):
        kept = cache.read(number)
        assert torch.allclose(kept["words"], answer.logits, rtol=1e-3, atol=1e-3)
        hidden = {name: value for name, value in kept.items() if name.startswith("hidden/")}
        assert set(hidden) == {f"hidden/{tower}/{block}" for tower, block in answer.hidden}
        for (tower, block), value in answer.hidden.items():
            assert torch.allclose(kept[f"hidden/{tower}/{block}"], value, rtol=1e-3, atol=1e-2)


def test_a_second_time_no_teacher_runs_nor_is_opened(fresh, items, tmp_path):
    model = fresh("whisper")
    first = lesson_maker(model, lambda: model)
    first.answers(items, tmp_path)
    assert first.asked == 5
    again = lesson_maker(model, lambda: pytest.fail("the teacher was opened"))
    cache = again.answers(items, tmp_path)
    assert again.asked == 0
    assert cache.read(4)["words"].shape[1] == model.config.vocab_size


@pytest.mark.parametrize("other", ["items", "teacher", "temperature", "layers"])
def test_other_questions_are_asked_anew(other, fresh, items, tmp_path):
    model = fresh("whisper")
    lesson_maker(model, lambda: model).answers(items, tmp_path)
    layers, temperature, key = None, 2.0, identity(model)
    if other == "items":
        items = [*items[:4], {**items[4], "decoder_input_ids": items[4]["decoder_input_ids"] + 1}]
    elif other == "teacher":
        key = "another"
    elif other == "temperature":
        temperature = 1.0
    else:
        layers = layer_map(model, model)
    asked = Teacher(lambda: model, key, layers or {}, True, temperature)
    asked.answers(items, tmp_path)
    assert asked.asked == 5


def test_a_cache_that_was_broken_off_is_filled_anew(fresh, items, tmp_path):
    model = fresh("whisper")
    lesson_maker(model, lambda: model).answers(items, tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "index.json").unlink()
    again = lesson_maker(model, lambda: model)
    again.answers(items, tmp_path)
    assert again.asked == 5


def test_of_many_classes_the_best_are_kept(fresh, items, tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.teach.teacher.MOST_CLASSES", 10)
    monkeypatch.setattr("penjing.teach.teacher.BEST", 4)
    model = fresh("whisper")
    cache = lesson_maker(model, lambda: model).answers(items, tmp_path)
    with torch.no_grad():
        answer = Answers(model, items, {}, True).ask(items[:1])[0]
    wanted = dict(zip(("best", "places", "total"), best_of(answer.logits, 4, 2.0), strict=True))
    kept = cache.read(0)
    assert "words" not in kept
    assert torch.equal(kept["places"], wanted["places"])
    assert torch.allclose(kept["total"], wanted["total"], atol=1e-5)
    assert torch.allclose(kept["best"], wanted["best"], rtol=1e-3, atol=1e-3)


def test_too_little_disk_is_said_before_the_teacher_answers(fresh, items, tmp_path, monkeypatch):
    model = fresh("whisper")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9, 100))
    with pytest.raises(DataError, match=r"what the teacher answers would take .* has 1e-07 GB left") as caught:
        lesson_maker(model, lambda: model).answers(items, tmp_path)
    assert "features: 0" in caught.value.hint
    assert [*tmp_path.iterdir()] == []


def test_sizes_are_those_on_disk(tmp_path):
    parts = {"words": torch.randn(3, 7), "total": torch.randn(3), "places": torch.arange(6).view(3, 2)}
    cache = AnswerCache(tmp_path / "kept")
    assert not cache.is_whole
    cache.fill([parts, parts])
    assert cache.is_whole
    assert cache.size_bytes == 2 * stored_bytes(parts) == 2 * (2 * 21 + 4 * 3 + 4 * 6)
    again = AnswerCache(tmp_path / "kept").read(1)
    assert torch.equal(again["places"], parts["places"])
    assert torch.equal(again["total"], parts["total"])


def test_room_is_measured_where_the_folder_will_be(tmp_path):
    check_room(tmp_path / "not" / "yet", 1, "a byte")
    with pytest.raises(DataError):
        check_room(tmp_path / "not" / "yet", 10**18, "all of it")


def test_values_beyond_sixteen_bits_are_cut_and_never_infinite(tmp_path):
    cache = AnswerCache(tmp_path)
    cache.fill([{"words": torch.tensor([[1e9, -1e9]])}])
    assert cache.read(0)["words"].tolist() == [[64992.0, -64992.0]]


@pytest.mark.parametrize("frozen", [(), ("encoder",)], ids=["together", "one by one"])
@pytest.mark.parametrize("damage", ["nothing", "a line broken off", "bytes that never came"])
def test_a_killed_teacher_goes_on_where_it_was(damage, frozen, fresh, tmp_path, monkeypatch):
    """With the answers of an unbroken run, to the last bit."""
    monkeypatch.setattr("penjing.teach.teacher.AT_ONCE", 2)
    model = fresh("whisper")
    items = [model.family.probe(model.net, seed) for seed in range(7)]
    layers = layer_map(model, model)
    towers = [tower for tower in fresh("whisper").towers if tower.name in frozen]
    lesson_maker(model, lambda: model, layers).answers(items, tmp_path / "whole", frozen=towers)

    def kill(what: str, done: int, of: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lesson_maker(model, lambda: model, layers).answers(items, tmp_path / "broken", kill, towers)
    (folder,) = (tmp_path / "broken").iterdir()
    assert not (folder / "index.json").exists()
    lines = folder / "answered.jsonl"
    if damage == "a line broken off":
        lines.write_text(lines.read_text()[:-7])
    elif damage == "bytes that never came":
        with (folder / "answers.bin").open("r+b") as file:
            file.truncate((folder / "answers.bin").stat().st_size - 1)
    again, told = lesson_maker(model, lambda: model, layers), []
    cache = again.answers(items, tmp_path / "broken", lambda what, done, of: told.append((done, of)), towers)
    assert again.asked == 3
    assert told == [(4, 7), (5, 7), (6, 7)]
    assert not again.heard
    assert [path.name for path in sorted(folder.iterdir())] == ["answers.bin", "index.json"]
    (whole,) = (tmp_path / "whole").iterdir()
    assert (folder / "answers.bin").read_bytes() == (whole / "answers.bin").read_bytes()
    assert (folder / "index.json").read_bytes() == (whole / "index.json").read_bytes()
    assert cache.read(6).keys() == cache.read(0).keys()


def test_an_index_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """A kill while it is written leaves what was answered, and no half of it."""
    write = Path.write_text

    def killed(path: Path, text: str, **options: str) -> None:
        write(path, text[: len(text) // 2], **options)
        if path.name.startswith("index.json"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        AnswerCache(tmp_path).fill([{"words": torch.randn(3, 7)}] * 2)
    again = AnswerCache(tmp_path)
    assert not again.is_whole
    assert again.answered == 2
