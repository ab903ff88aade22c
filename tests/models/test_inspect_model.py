"""What `inspect` says: the shape of the contract, sums that add up, operations counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from penjing.layers.half import store_half
from penjing.models.family import Model
from penjing.models.ledger import owners
from penjing.models.open import open_model
from penjing.models.profile import inspect_model, profile, tied_names, tower_bytes
from tiny_models import TINY

TOP = ["family", "architecture", "parameters", "size_bytes", "tied", "towers"]
ROW = ["name", "role", "modality", "blocks", "parameters", "size_bytes", "macs", "p50_ms", "latency_share"]
ROLES = {"encoder", "decoder", "connector", "embedding", "head"}
MODALITIES = {"image", "text", "audio", "mixed"}


@pytest.fixture(scope="module")
def inspected(opened):
    """The document of every tiny model, made once."""
    made: dict[str, dict] = {}

    def document(name: str) -> dict:
        if name not in made:
            made[name] = inspect_model(opened(name))
        return made[name]

    return document


def row(document: dict, name: str) -> dict:
    return next(tower for tower in document["towers"] if tower["name"] == name)


@pytest.mark.parametrize("name", sorted(TINY))
def test_the_document_has_the_shape_of_the_contract(inspected, name):
    document = inspected(name)
    assert list(document) == TOP
    assert json.loads(json.dumps(document)) == document
    for tower in document["towers"]:
        assert list(tower) == ROW
        assert tower["role"] in ROLES
        assert tower["modality"] in MODALITIES


@pytest.mark.parametrize("name", sorted(TINY))
def test_sums_add_up(inspected, opened, name):
    document, model = inspected(name), opened(name)
    assert sum(tower["parameters"] for tower in document["towers"]) == document["parameters"]
    assert sum(tower["size_bytes"] for tower in document["towers"]) == 4 * document["parameters"]
    assert document["size_bytes"] == (model.folder / "model.safetensors").stat().st_size
    assert sum(tower["latency_share"] for tower in document["towers"]) == pytest.approx(1)
    assert all(tower["p50_ms"] >= 0 and tower["macs"] >= 0 for tower in document["towers"])


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_trunk_costs_something(inspected, name):
    for tower in inspected(name)["towers"]:
        if tower["blocks"]:
            assert tower["p50_ms"] > 0
            assert tower["macs"] > 0


def test_families_and_architectures(inspected):
    names = {name: (inspected(name)["family"], inspected(name)["architecture"]) for name in ("whisper", "clip", "bert")}
    assert names == {
        "whisper": ("whisper", "WhisperForConditionalGeneration"),
        "clip": ("dual-encoder", "CLIPModel"),
        "bert": ("classifier", "BertForSequenceClassification"),
    }


def test_operations_of_a_llama_by_hand(inspected):
    """24 tokens, width 32, ffn 64, 2 heads of 16 (1 for keys and values), 2 layers, 96 words."""
    tokens, width = 24, 32
    projections = width * (32 + 16 + 16 + 32) + 3 * width * 64
    attention = 2 * tokens * tokens * 32
    document = inspected("llama")
    assert row(document, "decoder")["macs"] == 2 * (tokens * projections + attention)
    assert row(document, "head")["macs"] == tokens * width * 96
    assert row(document, "embedding")["macs"] == 0


def test_operations_of_a_vit_by_hand(inspected):
    """16 patches of 8×8×3 and one class token, width 32, ffn 64, 2 layers; 3 labels from one token."""
    patches, width = 16, 32
    tokens = patches + 1
    layer = tokens * width * (4 * width + 2 * 64) + 2 * tokens * tokens * width
    assert row(inspected("vit"), "image")["macs"] == patches * 8 * 8 * 3 * width + 2 * layer
    assert row(inspected("vit"), "head")["macs"] == width * 3


def test_a_tied_heads_operations_are_its_embeddings(inspected):
    assert row(inspected("llama_tied"), "embedding")["macs"] == 24 * 32 * 96


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("llama", []),
        ("gpt2", [["transformer.wte.weight", "lm_head.weight"]]),
        ("whisper", [["model.decoder.embed_tokens.weight", "proj_out.weight"]]),
        (
            "t5",
            [["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]],
        ),
    ],
)
def test_tied_parameters_are_listed(opened, name, groups):
    assert tied_names(opened(name)) == groups


def test_a_model_that_no_input_fits_is_still_described(opened):
    class Silent(type(opened("bert").family)):
        def probe(self, net, seed):
            raise ValueError("no idea")

    model = opened("bert")
    silent = Model(
        model.name, model.net, model.config, model.folder, Silent(), model.towers, model.settings, model.source
    )
    rows = profile(silent)
    assert [tower["parameters"] for tower in rows] == [tower["parameters"] for tower in profile(model)]
    assert all(tower["macs"] is tower["p50_ms"] is tower["latency_share"] is None for tower in rows)


class Packed(nn.Module):
    """A compressed layer: it knows what it takes, whatever it keeps in memory."""

    size_bytes = 100

    def __init__(self):
        super().__init__()
        self.codes = nn.Linear(9, 9)


def test_compressed_layers_say_their_own_bytes(folder_of):
    model = open_model(str(folder_of("bert")))
    owned = owners(model.net, model.towers)
    before = tower_bytes(model, owned)
    text = model.towers[0]
    site = text.sites["bert.encoder.layer.0.intermediate.dense"]
    gone = 4 * (site.weight.numel() + site.bias.numel())
    site.replace(Packed())
    after = tower_bytes(model, owners(model.net, model.towers))
    assert after["text"] == before["text"] - gone + 100
    assert {name: size for name, size in after.items() if name != "text"} == {
        name: size for name, size in before.items() if name != "text"
    }


def test_tables_stored_as_half_take_two_bytes(folder_of):
    model = open_model(str(folder_of("bert")))
    before = tower_bytes(model, owners(model.net, model.towers))
    table = model.net.bert.embeddings.position_embeddings
    store_half(table)
    after = tower_bytes(model, owners(model.net, model.towers))
    assert before["text"] - after["text"] == 2 * table.weight.numel()


def test_inspecting_leaves_the_model_as_it_was(opened):
    model = opened("clap")
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    inspect_model(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())
