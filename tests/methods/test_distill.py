"""The method's own settings: whose answers are learned, from which rows, what cannot be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from penjing.errors import Diverged, RecipeError
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.recipe import recipe_of

QUICK: dict[str, Any] = {"steps": 10, "check_every": 5, "average": 0.5, "task_share": 0.0}


def noisy(model: Model, share: float, seed: int = 0) -> Model:
    source = torch.Generator().manual_seed(seed)
    for parameter in model.net.parameters():
        if parameter.dim() > 1:
            parameter.data.add_(share * parameter.std() * torch.randn(parameter.shape, generator=source))
    return model


def learn(settings: dict[str, Any], model: Model, scratch, **aids: Any) -> list:
    probes = [model.family.probe(model.net, seed) for seed in range(6)]
    given = Aids(model, probes[:3], 0, scratch, **aids)
    return list(make("distill", {**QUICK, **settings}).apply_all(model.towers, probes, given))


def distance(one: Model, other: Model) -> float:
    """How far what two models answer lies apart."""
    probe = one.family.probe(one.net, 1)
    with torch.no_grad():
        outputs = [[tower.run(probe) for tower in model.towers if tower.blocks] for model in (one, other)]
    pairs = zip(*([part[0] if isinstance(part, tuple) else part for part in said] for said in outputs), strict=True)
    return sum(float((left - right).norm() / right.norm()) for left, right in pairs)


def test_another_checkpoint_is_the_teacher_where_it_is_named(fresh, tmp_path):
    """Student (c): it comes nearer to that teacher, not to its own source."""
    noisy(fresh("clip"), 0.3).net.save_pretrained(tmp_path / "teacher")
    teacher, student = open_model(str(tmp_path / "teacher")), fresh("clip")
    before = distance(student, teacher)
    learn({"teacher": str(tmp_path / "teacher"), "steps": 60, "rate": 3e-3}, student, tmp_path)
    assert distance(student, teacher) < 0.9 * before


def test_the_source_is_opened_once_more_unless_the_pipeline_says_how(fresh, tmp_path):
    opened = []

    def teacher() -> Model:
        opened.append(True)
        return fresh("clip")

    learn({}, noisy(fresh("clip"), 0.2), tmp_path, teacher=teacher)
    assert opened == [True]


def test_the_bar_tells_the_terms_of_the_loss(fresh, tmp_path):
    told = []
    learn({}, noisy(fresh("seedling"), 0.2), tmp_path, tell=lambda *what: told.append(what))
    steps = [(what, done, of) for what, done, of in told if what.startswith("train · loss ")]
    assert [(done, of) for _, done, of in steps] == [(step, 10) for step in range(1, 11)]
    assert all(term in steps[0][0] for term in ("logits", "features", "affinity"))
    assert told[-1][0].startswith("held-out loss ")


def test_a_step_that_goes_astray_is_named(fresh, tmp_path):
    with pytest.raises(Diverged, match=r"step distill: training diverged at step \d+"):
        learn({"rate": 1e4, "check_every": 1, "average": 0.0}, fresh("whisper"), tmp_path)


def test_a_recipe_that_lets_it_learn_after_other_tokens_is_refused_wherever_that_was(fresh):
    recipe = recipe_of([{"method": "tokens", "towers": ["encoder"], "keep": 3}, {"method": "distill"}])
    with pytest.raises(RecipeError, match="distill after tokens: its teacher would read other tokens"):
        recipe.check(fresh("whisper").towers)


def test_after_other_numbers_of_tokens_there_is_no_teacher(fresh):
    renamed: Any = SimpleNamespace(alters_prompts="gives tokens other numbers")
    assert "other tokens" in make("distill", {}).conflict(renamed)
    assert not make("distill", {"task_share": 1.0}).conflict(renamed)
    assert not make("distill", {}).conflict(make("rtn", {}))


def test_a_teacher_of_another_label_space_is_refused_before_work(fresh, folder_of, tmp_path):
    student = fresh("vit")
    other = fresh("vit")
    other.config.id2label, other.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    other.net.save_pretrained(tmp_path / "other")
    method = make("distill", {"teacher": str(tmp_path / "other")})
    with pytest.raises(RecipeError, match="has other labels"):
        method.refuse(student, student.towers)
    make("distill", {"teacher": str(folder_of("vit"))}).refuse(student, student.towers)


def test_bfloat16_is_refused_where_it_is_only_slow(fresh, monkeypatch):
    monkeypatch.setattr("penjing.methods.distill.multiplies_bfloat16", lambda: False)
    model = fresh("clip")
    with pytest.raises(RecipeError, match="no instructions for bfloat16"):
        make("distill", {"bfloat16": True}).refuse(model, model.towers)


def test_estimates_follow_the_settings():
    assert make("distill", {"minutes": 2}).takes() == 120
    assert make("distill", {}).takes() == 0
    assert make("distill", {"steps": 10, "batch": 4}).runs(100) == 100 + 3 * 40
    assert make("distill", {"minutes": 2}).runs(100) == 100
