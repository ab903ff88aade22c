"""Checkpoints in the layout of compressed-tensors: plain transformers opens them and answers what penjing answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import plain_outputs
from engine_rack import bits_of
from penjing.artifact.checkpoint import WEIGHTS, Layout, load_network, save_portable
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import open_model

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("compressed_tensors") is None, reason="compressed-tensors is not installed (extra dev)"
)
WITHOUT_CONVOLUTIONS = {"sites": ["*_proj", "*.fc?", "*projection", "*.dense", "*.query", "*.key", "*.value"]}
RTN_4 = {"bits": 4, "group": 32}
CASES: dict[str, tuple[str, list[tuple[str, dict]]]] = {
    "llama, 8 bits": ("llama", [("rtn", {})]),
    "llama, 8 bits asymmetric": ("llama", [("rtn", {"symmetric": False})]),
    "llama, 4 bits in groups": ("llama", [("rtn", RTN_4)]),
    "llama, 4 bits in groups, asymmetric": ("llama", [("rtn", {**RTN_4, "symmetric": False})]),
    "llama, groups of 64 where they fit, else 8 bits": ("llama", [("rtn", {"bits": 4, "group": 64}), ("rtn", {})]),
    "llama, 3 bits": ("llama", [("rtn", {"bits": 3})]),
    "llama, 2 bits": ("llama", [("rtn", {"bits": 2, "group": 32})]),
    "llama, gptq": ("llama", [("gptq", RTN_4), ("rtn", {})]),
    "llama, awq, float16": ("llama", [("awq", RTN_4), ("float16", {})]),
    "llama, a head that reads the table": ("llama_tied", [("gptq", RTN_4), ("rtn", {})]),
    "t5": ("t5", [("rtn", RTN_4)]),
    "opt": ("opt", [("rtn", {})]),
    "llava": ("llava", [("rtn", RTN_4)]),
    "moonshine": ("moonshine", [("gptq", RTN_4)]),
    "bert, int8 activations": ("bert", [("static_int8", {"sites": ["bert.*"]}), ("rtn", {})]),
    "clip, int8 activations of every token's own range": ("clip", [("dynamic_int8", WITHOUT_CONVOLUTIONS)]),
    "clip, int8 activations": ("clip", [("static_int8", WITHOUT_CONVOLUTIONS)]),
    "clip, int8 activations, codes of an earlier step": (
        "clip",
        [("rtn", WITHOUT_CONVOLUTIONS), ("static_int8", WITHOUT_CONVOLUTIONS)],
    ),
}


def compressed(model: Model, steps: list[tuple[str, dict]], scratch: Path) -> Model:
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    for name, settings in steps:
        method = make(name, settings)
        for tower in model.towers:
            if tower.role in method.roles and method.chosen(tower):
                method.run(tower, batches, Aids(model, [], 0, scratch))
    return model


@dataclass
class Saved:
    """A compressed model, where it was saved, how, and what it answers."""

    model: Model
    folder: Path
    layout: Layout
    answer: torch.Tensor


@pytest.fixture(scope="module")
def saved(tmp_path_factory, folder_of) -> dict[str, Saved]:
    root = tmp_path_factory.mktemp("portable")
    found = {}
    for case, (name, steps) in CASES.items():
        model = compressed(open_model(str(folder_of(name))), steps, root)
        folder = root / case
        layout = save_portable(model.net, model.folder, folder)
        inputs = dict(model.family.probe(model.net, 7))
        save_file(inputs, folder / "inputs.safetensors")
        with torch.no_grad():
            found[case] = Saved(model, folder, layout, plain_outputs.answer(model.net, inputs))
    return found


@pytest.fixture(scope="module")
def opened_plainly(saved) -> dict[str, torch.Tensor]:
    """What all of them answer in a fresh process of plain transformers."""
    root = next(iter(saved.values())).folder.parent
    done = subprocess.run(
        [sys.executable, plain_outputs.__file__, str(root)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {case: load_file(one.folder / "outputs.safetensors")["outputs"] for case, one in saved.items()}


@needs_package
@pytest.mark.parametrize("case", CASES)
def test_plain_transformers_answers_the_same(case, saved, opened_plainly):
    assert saved[case].layout.layout == "compressed-tensors"
    found, wanted = opened_plainly[case], saved[case].answer
    if "activations" not in case:
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        return
    # compressed-tensors adds the zero point before it rounds: an input on a tie may fall the other way.
    assert ((found - wanted).abs() <= 1e-5).float().mean() >= 0.95
    assert (found - wanted).norm() <= 2e-3 * wanted.norm()


@pytest.mark.parametrize("case", CASES)
def test_penjing_reads_back_every_bit(case, saved, tmp_path):
    one = saved[case]
    rebuilt = load_network(one.folder)
    assert bits_of(rebuilt) == bits_of(one.model.net)
    assert not hasattr(rebuilt.config, "quantization_config")
    assert save_portable(rebuilt, one.model.folder, tmp_path) == one.layout
    assert (tmp_path / WEIGHTS).read_bytes() == (one.folder / WEIGHTS).read_bytes()


def test_packed_codes_take_their_bits(saved):
    stored = load_file(saved["llama, 3 bits"].folder / WEIGHTS)
    packed = {name: words for name, words in stored.items() if name.endswith(".weight_packed")}
    assert len(packed) == 14
    for name, words in packed.items():
        rows, width = stored[name.replace("_packed", "_shape")].tolist()
        assert words.shape == (rows, width * 3 // 32)


def test_a_shared_table_is_stored_once(saved):
    stored = load_file(saved["llama, a head that reads the table"].folder / WEIGHTS)
    assert stored["model.embed_tokens.weight"].dtype == torch.int8
    assert "lm_head.weight" not in stored
    assert torch.equal(stored["lm_head.weight_scale"], stored["model.embed_tokens.weight_scale"])


def test_the_config_names_the_layers(saved):
    one = saved["llama, gptq"]
    found = json.loads((one.folder / "config.json").read_text())
    quantization = found["quantization_config"]
    groups = list(quantization["config_groups"].values())
    assert found["dtype"] == "float32"
    assert quantization["format"] == "mixed-precision"
    assert [group["targets"] for group in groups] == [["model.embed_tokens"], ["Linear"]]
    assert quantization["ignore"] == ["lm_head"]
    assert groups[-1]["weights"]["group_size"] == 32


def test_what_costs_more_bytes_is_told(saved):
    assert saved["llama, 8 bits asymmetric"].layout.note == ""
    assert saved["llama, gptq"].layout.note == ""
    assert "a byte for each code" in saved["llama, 4 bits in groups, asymmetric"].layout.note


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("vit", {}, "vit.embeddings.patch_embeddings.projection: compressed-tensors has no convolutions"),
        ("gpt2", {}, "transformer.h.0.attn.c_attn: compressed-tensors has no Conv1D"),
        ("seedling", {}, "transformers does not know SeedlingModel without penjing"),
    ],
)
def test_what_has_no_place_there_keeps_our_own_layout(name, settings, reason, fresh, tmp_path):
    model = compressed(fresh(name), [("rtn", settings)], tmp_path)
    assert save_portable(model.net, model.folder, tmp_path / "out") == Layout("penjing", reason)
    assert bits_of(load_network(tmp_path / "out")) == bits_of(model.net)
