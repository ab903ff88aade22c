"""Outputs compared without data: seeded and chained inputs, every component counted, one ruined tower refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

import penjing
from penjing.artifact.export import export_component
from penjing.data.source import load_dataset
from penjing.evaluate.goals import default_goals
from penjing.judge.quality import metric_names
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.models.reference import TorchGraph
from penjing.pipeline import compress as compressing
from penjing.pipeline.draws import DRAWS, IMAGE_MASK, Draws, draw_inputs
from penjing.pipeline.gate import hold
from penjing.pipeline.job import split_parts
from penjing.pipeline.judging import JudgingPlan
from penjing.pipeline.measure import Comparison, compare_in_torch
from penjing.pipeline.outputs import compare_components, compare_towers, probe_towers
from penjing.pipeline.steps import StepDone
from penjing.recipe import Step
from penjing.runtimes.engine import Engine
from penjing.values import Measures, Metric, Note, silent
from tiny_families import FAMILIES
from tiny_models import TINY

ENGINES = ("onnxruntime", "openvino")
UNREAD = ("pooler",)
"""Towers that no graph holds."""
END_TO_END = ("short_whisper", "clip", "language")
"""Families compressed at every run of the tests; the others in the slow ones."""
OUTGROWN = ("clap", "clap_fused")
"""Graphs with more constants (masks of shifted windows) than such a tiny network has weights: never smaller than it."""
CHANGED = [StepDone(Step(make("rtn", {})), (Note("site", "rtn", "encoder", 8.0, 0.01),), 1.0)]


@pytest.fixture(scope="module")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("families")
    return lru_cache(maxsize=None)(lambda name: FAMILIES[name](root / name))


def draw_of(model: Model, seed: int, source: Draws | None = None) -> Draws:
    return draw_inputs(model, model.family.components(model.net), seed, source)


def graphs_of(model: Model) -> dict[str, TorchGraph]:
    return {component.name: TorchGraph(component) for component in model.family.components(model.net)}


def compared(source: Model, result: Model, seed: int = 0) -> dict[str, float]:
    """Scores of a comparison in PyTorch eager."""
    before, after = graphs_of(source), graphs_of(result)
    draws = draw_of(source, seed)
    pairs = {name: (before[name], after[name]) for name in before}
    scores = compare_components(pairs, draws, draw_of(result, seed, draws))
    return {name: score.value for name, score in scores.items()}


@torch.no_grad()
def ruin(model: Model, tower_name: str) -> None:
    """Put noise of the same spread in place of a tower's matrices."""
    rng = torch.Generator().manual_seed(7)
    tower = next(tower for tower in model.towers if tower.name == tower_name)
    parameters = dict(model.net.named_parameters())
    for name in sorted(tower.parameter_names):
        if parameters[name].ndim >= 2:
            noise = torch.randn(parameters[name].shape, generator=rng)
            parameters[name].copy_(noise * parameters[name].std())


def refusal(metrics: dict[str, float]) -> list[str]:
    """What the default gate says of these metrics of a result that is smaller."""
    measured = {name: Metric(value, value, value, DRAWS) for name, value in metrics.items()}
    source, result = Measures("torch", 1, 100), Measures("torch", 1, 30, metrics=measured)
    goals = default_goals([name for name in metrics if "/" not in name])
    return hold(goals, Comparison(source, result), CHANGED).reasons()


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_component_names_a_tower_of_its_own_model(name, folder_of):
    model = open_model(str(folder_of(name)))
    components = model.family.components(model.net)
    assert {component.tower for component in components} <= {tower.name for tower in model.towers}
    assert len({component.name for component in components}) == len(components)
    assert bool(components) == (model.family.task is not None)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_inputs_follow_from_the_seed_alone(name, family_folder):
    """Neither the examples of the export nor the draws depend on what was drawn before."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        model = open_model(str(family_folder(name)))
        examples = {
            f"{component.name} {key}": tensor.numpy()
            for component in model.family.components(model.net)
            for key, tensor in component.inputs.items()
        }
        drawn = {f"{place} {key}": a for place, d in enumerate(draw_of(model, 3).inputs) for key, a in d.items()}
        found.append(examples | drawn)
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(array, found[1][key]) for key, array in found[0].items())
    draws = draw_of(model, 3).inputs
    media = next(key for key in ("pixel_values", "input_features", "input_ids") if key in draws[0])
    assert len({draw[media].tobytes() for draw in draws}) == DRAWS
    assert not np.array_equal(draws[0][media], draw_of(model, 4).inputs[0][media])


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_model_is_its_own_equal_in_every_component(name, family_folder):
    model = open_model(str(family_folder(name)))
    metrics = compared(model, model)
    components = [component.name for component in model.family.components(model.net)]
    assert metrics.pop("logit_kl", 0.0) == pytest.approx(0, abs=1e-9)
    expected = {"cosine", *(f"{name}/cosine" for name in components)} if len(components) > 1 else {"cosine"}
    assert metrics.keys() == expected
    assert min(metrics.values()) > 1 - 1e-6


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_one_ruined_tower_is_refused(name, family_folder):
    source = open_model(str(family_folder(name)))
    components = {component.name: component.tower for component in source.family.components(source.net)}
    for tower in source.towers:
        if tower.name in UNREAD:
            continue
        result = open_model(str(family_folder(name)))
        ruin(result, tower.name)
        metrics = compared(source, result)
        reasons = refusal(metrics)
        assert any(reason.startswith("cosine>=0.99 is") for reason in reasons), (tower.name, metrics)
        mine = [name for name, its in components.items() if its == tower.name and len(components) > 1]
        assert all(metrics[f"{component}/cosine"] < 0.99 for component in mine), (tower.name, metrics)


def test_components_that_were_left_alone_stay_equal(family_folder):
    """The ruined encoder does not reach the decoder: that is fed what the source's encoder gave."""
    source, result = (open_model(str(family_folder("whisper"))) for _ in range(2))
    ruin(result, "encoder")
    metrics = compared(source, result)
    assert metrics["encoder_model/cosine"] < 0.9
    assert metrics["decoder_with_past_model/cosine"] > 1 - 1e-6
    assert metrics["cosine"] == pytest.approx(metrics["encoder_model/cosine"], abs=1e-6)


def test_a_picture_stands_where_the_text_has_its_tokens(family_folder):
    model = open_model(str(family_folder("smolvlm")))
    drawn = draw_of(model, 0).inputs[0]
    (image,) = {int(token) for token in drawn["input_ids"][0][drawn[IMAGE_MASK]]}
    assert image == model.net.config.image_token_id
    seen = TorchGraph(model.family.components(model.net)[0])(drawn)["image_features"]
    assert drawn[IMAGE_MASK].sum() == seen.shape[0] * seen.shape[1]


def test_lengths_vary_where_axes_do(family_folder):
    model = open_model(str(family_folder("seedling")))
    draws = draw_of(model, 0).inputs
    assert len({draw["input_ids"].shape for draw in draws}) >= 3
    assert len({draw["input_features"].shape for draw in draws}) >= 3
    assert all(draw["input_features"].shape[2] % 8 == 0 for draw in draws)


def test_fewer_layers_are_fed_their_own_past(family_folder):
    source, result = (open_model(str(family_folder("language"))) for _ in range(2))
    del result.net.model.layers[1]
    result.net.config.num_hidden_layers = 1
    metrics = compared(source, result)
    assert 0 < metrics["logit_kl"] < float("inf")
    assert metrics["cosine"] < 0.99


@pytest.mark.parametrize("name", ["hubert_ctc", "llava", "qwen2", "t5_untied", "swin"])
def test_one_ruined_tower_is_refused_in_pytorch(name, folder_of):
    source = open_model(str(folder_of(name)))
    probed = probe_towers(source, 0)
    for tower in source.towers:
        result = open_model(str(folder_of(name)))
        ruin(result, tower.name)
        metrics = {key: score.value for key, score in compare_towers(probed, result).items()}
        assert refusal(metrics), (tower.name, metrics)
    same = compare_towers(probed, open_model(str(folder_of(name))))
    assert min(score.value for score in same.values()) > 1 - 1e-6


def check_one_site(model: Model, source: Path, scratch: Path) -> None:
    """One site in 8 bits: the same bytes each time, and the component nearly what it was, in both engines."""
    component = model.family.components(model.net)[-1]
    tower = next(tower for tower in model.towers if tower.name == component.tower)
    path = next(name for name, site in tower.sites.items() if site.kind in ("linear", "conv"))
    files = []
    for number in range(2):
        result = open_model(str(model.folder))
        target = next(part for part in result.towers if part.name == tower.name)
        alone = dataclasses.replace(target, sites={path: target.sites[path]})
        torch.manual_seed(number)
        (note,) = make("rtn", {"bits": 8}).run(alone, [], Aids(result, [], 0, scratch))
        assert note.is_changed
        (scratch / str(number)).mkdir()
        files.append(export_component(result.family.components(result.net)[-1], scratch / str(number)))
    assert files[0].read_bytes() == files[1].read_bytes()
    draws = draw_of(model, 0)
    for name in ENGINES:
        engine = Engine(name, 1, cache=False)
        paths = {key: (source / "onnx" / f"{key}.onnx", source / "onnx" / f"{key}.onnx") for key in draws.graphs}
        paths[component.name] = (paths[component.name][0], files[0])
        graphs = {key: (engine.open(before), engine.open(after)) for key, (before, after) in paths.items()}
        scores = compare_components(graphs, draws, draws)
        assert min(score.value for key, score in scores.items() if key.endswith("cosine")) >= 0.999


@pytest.mark.parametrize(
    "name", [name if name in END_TO_END else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_compressed_without_data(name, family_folder, tmp_path, monkeypatch):
    """Published by default, in both engines; every component is measured and every tower timed."""
    comparisons: dict[str, Comparison] = {}
    measure = compressing.measure

    def in_both(job, model, choices, before, folder, tell):
        for engine in ENGINES:
            there = dataclasses.replace(job, engine=Engine(engine, 1, cache=False))
            comparisons[engine] = measure(there, model, choices, before, folder, tell)
        check_one_site(open_model(str(family_folder(name))), before.folder, tmp_path)
        return comparisons["onnxruntime"]

    monkeypatch.setattr(compressing, "measure", in_both)
    goals = ["cosine>=0.99"] if name in OUTGROWN else []
    document = penjing.compress(family_folder(name), tmp_path / "out", goals=goals, engine="onnxruntime", threads=1)
    assert document["published"]
    model = open_model(str(family_folder(name)))
    components = model.family.components(model.net)
    for comparison in comparisons.values():
        metrics = comparison.result.metrics
        assert metrics["cosine"].value >= 0.99
        assert metrics["cosine"].n == DRAWS
        assert comparison.tower_ms.keys() == {component.tower for component in components}
        if len(components) > 1:
            assert {f"{component.name}/cosine" for component in components} <= metrics.keys()


@pytest.mark.parametrize(
    ("name", "data", "rows"), [("pictures-dual-encoder", "pictures", 60), ("seedling", "scenes", 24)]
)
def test_one_ruined_tower_of_a_trained_model_is_refused(name, data, rows, tmp_path):
    """With data by what the task is judged by, without by the outputs."""
    judged = split_parts(load_dataset(data), None).judge[:rows]
    source = open_model(name)
    goals = default_goals(metric_names(source.family.task, judged))
    (tmp_path / "manifest.json").write_text("{}")
    for tower in source.towers:
        result = open_model(name)
        ruin(result, tower.name)
        assert any(reason.startswith("cosine>=0.99 is") for reason in refusal(compared(source, result)))
        comparison = compare_in_torch(source, result, tmp_path, JudgingPlan(judged), 1, silent)
        assert not all(goal.check(comparison.source, comparison.result, comparison.changes).met for goal in goals)
