"""What does not learn is run once per item, and nothing is learned otherwise than without that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from penjing.models.family import Model
from penjing.teach import course as room
from penjing.teach.answers import Answers
from penjing.teach.course import Course, Data, teach
from penjing.teach.frozen import Kept, frozen_towers, same_towers
from penjing.teach.objective import DISTILLED, Weights
from penjing.teach.parts import Learners, Student
from penjing.teach.teacher import Teacher
from penjing.train.plan import Plan
from penjing.values import silent

GIVEN = Course(Plan(4, peak_rate=1e-3, check_every=2), Weights(0.2, dict.fromkeys(DISTILLED, 1.0), 2.0), 3, 1, 0)


def learner(model: Model, name: str) -> Student:
    towers = [tower for tower in model.towers if tower.name == name]
    return Student(model, towers, [site for tower in towers for site in tower.sites.values()])


def probes(model: Model, count: int) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def learn(model: Model, name: str, teacher: Model, scratch: Path) -> list[dict]:
    teach(learner(model, name), lambda: teacher, Data(probes(model, 9), probes(model, 2)), GIVEN, scratch, silent)
    (log,) = scratch.glob("course-*/log.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


LOOKS, STEPS, ITEMS, PROOF = 3, 4, 11, 1


@pytest.mark.parametrize(("teachers", "own"), [("the same", 0), ("another", ITEMS)])
def test_an_encoder_that_stays_is_run_once_an_item_and_never_where_the_teacher_has_it(
    teachers, own, fresh, tmp_path, monkeypatch
):
    counts = []
    for place in ("kept", "every time"):
        model, teacher, calls = fresh("whisper"), fresh("whisper"), []
        block, other = (
            next(tower for tower in one.towers if tower.name == "encoder").blocks[0] for one in (model, teacher)
        )
        if teachers == "another":
            with torch.no_grad():
                other.fc1.weight[0, 0] += 1
        block.self_attn.register_forward_hook(lambda *call, calls=calls: calls.append(1))
        learn(model, "decoder", teacher, tmp_path / place)
        counts.append(len(calls))
        monkeypatch.setattr(room, "frozen_towers", lambda model: [])
    once, every_time = counts
    # a look at two items, a step of three: a run each
    assert every_time - (once - own - PROOF) == LOOKS + STEPS


def test_towers_are_the_same_if_blocks_and_weights_are(fresh):
    model, other = fresh("whisper"), fresh("whisper")
    towers = [tower for tower in model.towers if tower.name == "encoder"]
    (same,) = same_towers(other, towers)
    assert same.blocks[0] is next(tower for tower in other.towers if tower.name == "encoder").blocks[0]
    other.net.get_submodule("model.encoder.layers.0").fc1 = torch.nn.Identity()
    assert same_towers(other, towers) == []
    assert same_towers(fresh("clip"), towers) == []


def test_what_the_teacher_heard_is_what_the_student_would_have(fresh, tmp_path):
    model, items = fresh("whisper"), probes(fresh("whisper"), 3)
    towers = [tower for tower in model.towers if tower.name == "encoder"]
    own = Kept(towers)
    with own.in_place():
        Answers(model, items, {}, embeds=False).lean_on(own, items, silent)
    other = fresh("whisper")
    teacher = Teacher(lambda: other, "", {}, False, 2.0)
    teacher.answers(items, tmp_path, silent, towers)
    assert teacher.asked == 3
    assert own
    assert own._outputs.keys() == teacher.heard._outputs.keys()
    assert all(torch.equal(value, teacher.heard._outputs[key]) for key, value in own._outputs.items())


@pytest.mark.parametrize(("kind", "name"), [("whisper", "decoder"), ("llava", "decoder")])
def test_nothing_is_learned_otherwise(kind, name, fresh, tmp_path, monkeypatch):
    kept = learn(fresh(kind), name, fresh(kind), tmp_path / "kept")
    monkeypatch.setattr(room, "frozen_towers", lambda model: [])
    every_time = learn(fresh(kind), name, fresh(kind), tmp_path / "every time")
    for one, other in zip(kept, every_time, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=2e-5)  # five digits are logged


def test_only_encoders_that_do_not_learn_are_kept(fresh):
    model = fresh("whisper")
    Learners(learner(model, "decoder"))
    assert [tower.name for tower in frozen_towers(model)] == ["encoder"]
    model = fresh("whisper")
    Learners(learner(model, "encoder"))
    assert frozen_towers(model) == []


def test_more_than_there_is_room_for_is_not_kept(fresh, monkeypatch):
    model = fresh("whisper")
    towers = [tower for tower in model.towers if tower.name == "encoder"]
    for most, processes, keeps in ((0.5, 1, True), (0.5, 10**12, False), (0.0, 1, False)):
        monkeypatch.setattr("penjing.teach.frozen.MOST", most)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        kept = Kept(towers)
        items, told = probes(model, 3), []
        with kept.in_place():
            Answers(model, items, {}, embeds=False).lean_on(kept, items, lambda what, *_, told=told: told.append(what))
            assert bool(kept) is keeps
            assert any("nothing is kept" in what for what in told) is not keeps
        assert "forward" not in vars(towers[0].blocks[0])
