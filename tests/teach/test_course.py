"""A student learns: from the data, from a teacher, the parts that are to learn and no others."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from penjing.calibrate.proxy import verdicts
from penjing.errors import DataError, Diverged, MissingExtra, RecipeError
from penjing.extras import have
from penjing.layers.static import Static
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.teach.answers import Answers
from penjing.teach.course import Course, Data, Learned, needed_parts, teach
from penjing.teach.mapping import layer_map
from penjing.teach.objective import DISTILLED, Objective, Weights
from penjing.teach.parts import Learners, Student
from penjing.teach.teacher import Teacher, identity
from penjing.train.plan import Plan
from penjing.values import silent

ALL = dict.fromkeys(DISTILLED, 1.0)


def probes(model: Model, count: int = 6) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def student_of(model: Model, part: str = "all") -> Student:
    sites = [site for tower in model.towers for site in tower.sites.values()]
    return Student(model, model.towers, sites, part)  # type: ignore[arg-type]


def course(task_share: float = 0.0, steps: int = 6, **plan) -> Course:
    settings = {"peak_rate": 1e-3, "check_every": 2, "average": 0.5, **plan}
    return Course(Plan(steps, **settings), Weights(task_share, ALL, 2.0), 4, 1, 0)


def learn(model: Model, teacher: Model, scratch: Path, given: Course, part: str = "all", held: int = 2) -> Learned:
    data = Data(probes(model), probes(model, held))
    return teach(student_of(model, part), lambda: teacher, data, given, scratch, silent)[1]


def damaged(model: Model) -> Model:
    """The model with noise on every matrix."""
    source = torch.Generator().manual_seed(0)
    for parameter in model.net.parameters():
        if parameter.dim() > 1:
            parameter.data.add_(0.3 * parameter.std() * torch.randn(parameter.shape, generator=source))
    return model


def objective_of(model: Model, teacher: Model, tmp_path: Path, weights: Weights) -> Objective:
    items = probes(model)
    layers = layer_map(model, teacher)
    lessons = Teacher(lambda: teacher, identity(teacher), layers, True, 2.0).answers(items, tmp_path).read
    asked = Answers(model, items, {name: range(len(places)) for name, places in layers.items()}, True)
    return Objective(model.net, asked, items, lessons, weights)


@pytest.mark.parametrize("name", ["seedling", "whisper", "clip", "llama", "vit"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name, fresh, tmp_path):
    with torch.no_grad():
        terms = objective_of(fresh(name), fresh(name), tmp_path, Weights(0.0, ALL, 2.0))(range(6))
    assert terms
    for loss, value in terms.items():
        assert value.item() == pytest.approx(0, abs=1e-4), loss


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("seedling", {"logits", "features", "attention", "affinity", "relational"}),
        ("whisper", {"logits", "features", "attention"}),
        ("clip", {"features", "attention", "affinity", "relational"}),
        ("llama", {"logits", "features", "attention"}),
    ],
)
def test_a_model_has_the_losses_that_it_has_something_for(name, wanted, fresh, tmp_path):
    with torch.no_grad():
        terms = objective_of(damaged(fresh(name)), fresh(name), tmp_path, Weights(0.0, ALL, 2.0))(range(6))
    assert set(terms) == wanted
    assert all(float(value) > 1e-3 for loss, value in terms.items() if loss != "attention")


def test_the_task_is_the_likelihood_of_the_data(fresh, tmp_path):
    model = fresh("whisper")
    items = probes(model)
    objective = Objective(model.net, Answers(model, items, {}, False), items, None, Weights(1.0, ALL, 2.0))
    with torch.no_grad():
        terms = objective(range(6))
        said = [one for item in items for one in verdicts(model, [item])]
    wanted = torch.stack([cross_entropy(one.logits, one.targets) for one in said]).mean()
    assert set(terms) == {"task"}
    assert terms["task"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert objective.weigh(terms).item() == terms["task"].item()


def test_with_the_task_alone_it_is_plain_training(fresh, tmp_path):
    """λ = 1: no teacher is opened, and the loss curve is that of the same loop around cross-entropy."""
    model = fresh("whisper")
    given = course(1.0, steps=4)
    data = Data(probes(model), ())
    teach(student_of(model), lambda: pytest.fail("a teacher was opened"), data, given, tmp_path / "one", silent)
    assert not [*(tmp_path / "one").glob("teacher-*")]
    (log,) = (tmp_path / "one").glob("course-*/log.jsonl")
    curve = [json.loads(line)["loss"] for line in log.read_text().splitlines()]

    plain = fresh("whisper")
    items = probes(plain)
    Learners(Student(plain, plain.towers, ()))
    from penjing.teach.draw import Draw
    from penjing.teach.joining import kind_of
    from penjing.train.optimizer import Optimizers

    wrapped = torch.nn.ModuleDict({"net": plain.net})
    optimizer = Optimizers(wrapped, given.plan)
    draw = Draw([kind_of(item) for item in items], [(0, 0)] * 6, 4, 0)
    losses = []
    for step in range(4):
        said = [one for number in draw(step) for one in verdicts(plain, [items[number]])]
        loss = torch.stack([cross_entropy(one.logits, one.targets) for one in said]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([one for one in plain.net.parameters() if one.requires_grad], 1.0)
        optimizer.advance(step)
        losses.append(loss.item())
    assert curve == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("name", ["seedling", "clip"])
def test_healing_brings_a_damaged_student_nearer(name, fresh, tmp_path):
    found = learn(damaged(fresh(name)), fresh(name), tmp_path, course(steps=30, peak_rate=2e-3))
    assert found.best < 0.8 * found.before


@pytest.mark.parametrize("part", ["norms", "scales", "all"])
def test_only_the_part_that_is_to_learn_moves(part, fresh, tmp_path):
    model = damaged(fresh("clip"))
    make("rtn", {"bits": 8, "group": 0, "sites": ["*.fc1"]}).run(model.towers[0], [], Aids(model, [], 0, tmp_path))
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    learn(model, fresh("clip"), tmp_path, course(steps=8), part, held=0)
    moved = {name for name, value in model.net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    if part == "norms":
        assert all(before[name].dim() < 2 for name in moved)
    if part == "scales":
        assert all(name.endswith("table.scales") for name in moved)
    if part == "all":
        assert any(name.endswith("table.packed") for name in moved)
        assert any(before[name].dim() == 2 for name in moved)


@pytest.mark.skipif(not have("peft"), reason="peft is not installed")
def test_adapters_learn_and_are_merged(fresh, tmp_path):
    """Only matrices of plain linear layers move, by a change of the adapters' rank; modules are what they were."""
    model = damaged(fresh("clip"))
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    kinds = [type(module) for module in model.net.modules()]
    sites = [site for tower in model.towers for site in tower.sites.values()]
    student = Student(model, model.towers, sites, "adapters", rank=2)
    teach(student, lambda: fresh("clip"), Data(probes(model), ()), course(steps=8), tmp_path, silent)
    after = model.net.state_dict()
    assert list(after) == list(before)
    assert [type(module) for module in model.net.modules()] == kinds
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert len(moved) > 8
    for name in moved:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2


def test_without_peft_it_is_said_how_to_get_it(fresh, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    model = fresh("clip")
    with pytest.raises(MissingExtra, match="peft") as caught:
        learn(model, fresh("clip"), tmp_path, course(), "adapters")
    assert "penjing[train]" in caught.value.hint


def test_products_in_bfloat16_heal_as_well(fresh, tmp_path):
    """In any chip; it is slow where there are no instructions for it."""
    given = replace(course(steps=30, peak_rate=2e-3), bfloat16=True)
    found = learn(damaged(fresh("clip")), fresh("clip"), tmp_path, given)
    assert found.best < 0.85 * found.before


def test_towers_that_are_not_to_learn_do_not_move(fresh, tmp_path):
    model = damaged(fresh("clip"))
    one, other = (tower for tower in model.towers if tower.blocks)
    before = {name: value.clone() for name, value in model.net.named_parameters()}
    student = Student(model, [one], list(one.sites.values()), "all")
    teach(student, lambda: fresh("clip"), Data(probes(model), ()), course(), tmp_path, silent)
    moved = {name for name, value in model.net.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= one.parameter_names
    assert not moved & other.parameter_names


def test_a_killed_course_goes_on_as_if_nothing_had_been(fresh, tmp_path):
    given = course(steps=10, save_every_s=0.0)
    whole = damaged(fresh("clip"))
    learn(whole, fresh("clip"), tmp_path / "whole", given)

    def kill(what: str, done: int, of: int) -> None:
        if what.startswith("train") and done == 6:
            raise KeyboardInterrupt

    broken = damaged(fresh("clip"))
    data = Data(probes(broken), probes(broken, 2))
    with pytest.raises(KeyboardInterrupt):
        teach(student_of(broken), lambda: fresh("clip"), data, given, tmp_path / "broken", kill)
    again = damaged(fresh("clip"))
    learn(again, fresh("clip"), tmp_path / "broken", given)
    logs = [next((tmp_path / place).glob("course-*/log.jsonl")).read_text() for place in ("whole", "broken")]
    assert logs[0] == logs[1]
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_a_batch_of_many_words_goes_through_in_parts(fresh, monkeypatch):
    model = fresh("llama")
    sample = probes(model, 2)
    asked = Answers(model, sample, {}, False)
    with torch.no_grad():
        logits = asked.ask(sample[:1])[0].logits
    assert logits is not None
    assert needed_parts(asked, sample, 16) == 1
    monkeypatch.setattr("penjing.teach.course.MOST_LOGITS", 4 * logits.numel())
    assert needed_parts(asked, sample, 16) == 4


def test_data_that_never_reach_a_tower_are_refused(fresh, tmp_path):
    model = fresh("clip")
    pictures = [{"pixel_values": item["pixel_values"]} for item in probes(model)]
    with pytest.raises(DataError, match="no item reaches tower text") as caught:
        teach(student_of(model), lambda: model, Data(pictures, ()), course(), tmp_path, silent)
    assert "text" in caught.value.hint


def test_a_narrower_student_learns_through_a_projection(fresh, tmp_path):
    """Its hidden width is another than the teacher's; the projection is no part of the model."""
    model = fresh("clip")
    objective = objective_of(model, fresh("clip"), tmp_path, Weights(0.0, ALL, 2.0))
    item = objective._asked.ask(probes(model, 1))[0]
    lesson = {name: torch.nn.functional.pad(value, (0, 8)) for name, value in objective._lessons(0).items()}
    objective._project(item, lesson)
    assert objective.projections
    near = objective._like([item], [lesson])["features"]
    assert near is not None
    assert near.item() == pytest.approx(0, abs=1e-4)
    near.backward()
    assert all(value.grad is not None for value in objective.projections.values())


def test_a_module_learns_from_labels_beside_its_inputs():
    """Batches of several items with `labels`, which the module itself never sees."""
    from penjing.pipeline.modules import compress_module

    source = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(3, 8, generator=source)
    labels = torch.randint(0, 3, (64,), generator=source)
    inputs = centres[labels] + torch.randn(64, 8, generator=source)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    name = "input"
    batches = [{name: inputs[at : at + 8], "labels": labels[at : at + 8]} for at in range(0, 64, 8)]
    steps = [
        {"method": "magnitude", "share": 0.5},
        {"method": "distill", "task_share": 1.0, "steps": 60, "rate": 1e-2, "batch": 2},
    ]

    def accuracy(module: torch.nn.Module) -> float:
        return float((module(inputs).argmax(-1) == labels).float().mean())

    found = compress_module(net, steps, batches=batches, metric=accuracy)
    assert found.after is not None
    assert found.before is not None
    assert found.after > max(0.8, found.before + 0.2)
    assert float((found.module[0].weight == 0).float().mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("part", ["scales", "all"])
def test_scales_of_int8_inputs_learn_and_stay(part, fresh, tmp_path):
    """Layers that read one input have one grid for it before and after."""
    model = fresh("clip")
    tower = model.towers[0]
    items = probes(model)
    method = make("static_int8", {"max_error": 10.0})
    method.run(tower, items, Aids(model, items[:2], 0, tmp_path))
    layers = {name: site.module for name, site in tower.sites.items() if isinstance(site.module, Static)}
    assert len(layers) > 6
    before = {name: float(layer.input.scale) for name, layer in layers.items()}
    codes = {name: layer.codes.clone() for name, layer in layers.items()}
    student = Student(model, [tower], list(tower.sites.values()), part)
    teach(student, lambda: fresh("clip"), Data(items, ()), course(steps=8, peak_rate=2e-3), tmp_path, silent)
    after = {name: float(layer.input.scale) for name, layer in layers.items()}
    assert all(after[name] != before[name] for name in layers)
    assert all(abs(after[name] / before[name] - 1) < 0.2 for name in layers)
    assert all(layer.input.log_factor is None for layer in layers.values())
    assert all(torch.equal(layer.codes, codes[name]) for name, layer in layers.items())
    attention = [name for name in layers if name.endswith(("q_proj", "k_proj", "v_proj"))]
    for name in attention:
        same = [other for other in attention if before[other] == before[name]]
        assert {after[other] for other in same} == {after[name]}


def test_a_module_without_labels_has_nothing_to_learn_of_itself():
    from penjing.pipeline.modules import compress_module

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    batches = [torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    with pytest.raises(RecipeError, match="there is nothing to learn: the data hold no words or labels"):
        compress_module(net, [{"method": "distill", "task_share": 1.0}], batches=batches)


def test_the_step_that_went_astray_is_named_among_several():
    from penjing.pipeline.modules import compress_module

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    batches = [torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    steps = [
        {"method": "distill", "steps": 1, "rate": 1e-6},
        {"method": "distill", "steps": 9, "rate": 1e4, "check_every": 1, "average": 0.0},
    ]
    with pytest.raises(Diverged, match=r"^step 2, distill: training diverged at step \d"):
        compress_module(net, steps, batches=batches)
