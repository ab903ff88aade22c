"""What the steps will take: from a run that was timed, more for more data and longer recipes, nothing for none."""

from __future__ import annotations

import dataclasses

import pytest

from penjing.errors import DataError
from penjing.methods import make
from penjing.pipeline.preflight import check_disk, expect
from penjing.pipeline.steps import Calibration
from penjing.recipe import Recipe, Step
from penjing.teach.mapping import layer_map
from penjing.teach.teacher import Teacher


def recipe_of(*methods: tuple[str, dict]) -> Recipe:
    return Recipe(tuple(Step(make(name, settings), ("decoder",)) for name, settings in methods))


def batches_of(model, count: int) -> Calibration:
    return Calibration([model.family.probe(model.net, seed) for seed in range(count)], (), "probe")


def test_more_data_and_more_steps_are_more_work(fresh, monkeypatch):
    model = fresh("llama")
    monkeypatch.setattr("penjing.pipeline.preflight._run_seconds", lambda tower, batch: 0.5)
    gptq, learned = ("gptq", {"group": 32}), ("autoround", {"group": 32, "steps": 10, "items": 2})
    few, many = batches_of(model, 2), batches_of(model, 20)
    short = expect(model, recipe_of(gptq), few)
    assert short.seconds == pytest.approx(0.5 * 3 * 2, rel=0.01)
    assert expect(model, recipe_of(gptq), many).seconds == pytest.approx(0.5 * 3 * 20, rel=0.01)
    both = expect(model, recipe_of(learned, gptq), few)
    assert both.seconds == pytest.approx(0.5 * (3 * 10 * 2 + 14 * 2) + short.seconds, rel=0.01)


def test_hidden_states_of_every_item_are_counted(fresh, monkeypatch):
    model = fresh("llama")
    monkeypatch.setattr("psutil.Process.memory_info", lambda self: dataclasses.make_dataclass("I", ["rss"])(1000))
    (width,) = {model.config.hidden_size}
    tokens = model.family.probe(model.net, 0)["input_ids"].shape[1]
    few, many = (expect(model, recipe_of(("gptq", {"group": 32})), batches_of(model, n)) for n in (1, 101))
    assert many.peak_rss_bytes - few.peak_rss_bytes >= 100 * 4 * width * tokens
    assert few.peak_rss_bytes > 1000


def test_without_data_only_memory_is_needed(fresh):
    found = expect(fresh("llama"), recipe_of(("rtn", {"bits": 8})), Calibration((), (), "no data"))
    assert found.seconds == 0
    assert found.peak_rss_bytes > 0


def test_a_teacher_whose_answers_the_disk_has_no_room_for_is_told_before_the_steps(fresh, tmp_path, monkeypatch):
    model = fresh("whisper")
    few, many = batches_of(model, 2), batches_of(model, 20)
    size = make("distill", {}).keeps_bytes(model, model.towers, many.batches, 1.0, 0)
    cache = Teacher(lambda: model, "", layer_map(model, model), True, 2.0).answers(many.batches, tmp_path / "cache")
    assert size == pytest.approx(cache.size_bytes, rel=0.01)
    told = make("distill", {"data": "speech-train:200"})
    assert told.keeps_bytes(model, model.towers, many.batches, 1.0, 0) == pytest.approx(10 * size)
    assert told.keeps_bytes(model, model.towers, many.batches, 1.0, 20) == pytest.approx(
        11 * size
    )  # held out: asked too
    decoder = [tower for tower in model.towers if tower.name == "decoder"]
    needed = make("distill", {}).keeps_bytes(model, decoder, many.batches, 1.0, 0)
    assert 0 < needed < size / 2  # what an encoder that does not learn says is not kept
    assert make("distill", {"task_share": 1}).keeps_bytes(model, model.towers, many.batches, 1.0, 0) == 0
    usage = dataclasses.make_dataclass("Usage", ["free"])(needed / 2)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    check_disk(model, recipe_of(("distill", {})), few, tmp_path)
    with pytest.raises(DataError, match=r"step distill: .* would take .* GB"):
        check_disk(model, recipe_of(("distill", {})), many, tmp_path)
    two, three = (("distill", {"data": f"speech-train:{count}"}) for count in (2, 3))
    usage.free = 1.5 * make(*three).keeps_bytes(model, decoder, few.batches, 1.0, 0)
    check_disk(model, recipe_of(three, three), few, tmp_path)  # what both read is kept once
    with pytest.raises(DataError, match="step distill"):
        check_disk(model, recipe_of(two, three), few, tmp_path)
