"""Language models as one graph: in PyTorch as transformers computes them, in both engines the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine_rack import EXACT, in_turns, kinds_of_layers
from penjing.artifact.export import export_component
from penjing.models.family import Model
from penjing.models.reference import TorchGraph
from penjing.runtimes.decoder import open_decoder
from penjing.runtimes.decoding import Decoder, DecoderPool, GraphDecoder, written_tokens
from penjing.runtimes.language import GRAPH

TOKENS = [5, 9, 20, 33, 7, 41, 50]
KINDS = ("llama", "llama_tied", "qwen2", "gpt2", "opt")
EXPORTED = ("llama", "gpt2")


def wanted(model: Model) -> np.ndarray:
    with torch.no_grad():
        return model.net(torch.tensor([TOKENS])).logits[0].numpy()


def in_parts(decoder: Decoder) -> np.ndarray:
    """Four tokens, one more, the rest: the cache carries what went before."""
    decoder.start({})
    return np.concatenate([decoder.read(part).copy() for part in (TOKENS[:4], TOKENS[4:5], TOKENS[5:])])


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_computes_what_transformers_does(kind, opened):
    model = opened(kind)
    assert model.family.name == "causal-lm"
    (component,) = model.family.components(model.net)
    before = model.net.config._attn_implementation
    decoder = GraphDecoder(TorchGraph(component), model.settings)
    assert np.abs(in_parts(decoder) - wanted(model)).max() < 1e-5
    decoder.start({})
    assert np.abs(decoder.read(TOKENS) - wanted(model)).max() < 1e-5
    assert model.net.config._attn_implementation == before


def test_a_padded_token_is_not_looked_at(opened):
    model = opened("llama")
    (component,) = model.family.components(model.net)
    graph = TorchGraph(component)
    empty = {name: np.zeros((1, 1, 0, 16), np.float32) for name in graph.inputs if name.startswith("past")}
    mask = np.array([[0, 0, *[1] * len(TOKENS)]])
    places = np.array([[0, 0, *range(len(TOKENS))]])
    inputs = {"input_ids": np.array([[3, 4, *TOKENS]]), "attention_mask": mask, "position_ids": places}
    assert np.abs(graph({**inputs, **empty})["logits"][0, 2:] - wanted(model)).max() < 1e-5


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request, opened, tmp_path_factory) -> tuple[Model, Path]:
    model = opened(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "onnx").mkdir()
    (component,) = model.family.components(model.net)
    export_component(component, folder / "onnx")
    return model, folder


@pytest.mark.parametrize("engine", EXACT)
def test_engines_agree(engine, exported):
    model, folder = exported
    decoder = open_decoder(folder, model.settings, EXACT[engine], GRAPH)
    assert np.abs(in_parts(decoder) - wanted(model)).max() < 1e-4
    decoder.start({})
    assert np.abs(decoder.step(TOKENS) - wanted(model)[-1]).max() < 1e-4


def test_openvino_keeps_the_cache_in_its_own_attention(exported):
    model, folder = exported
    decoder = open_decoder(folder, model.settings, EXACT["openvino"], GRAPH)
    assert kinds_of_layers(decoder)["ScaledDotProductAttention"] == model.settings["decoder"]["layers"]


def test_names_and_shapes_are_those_that_transformers_js_reads(exported):
    model, folder = exported
    graph = onnx.load(str(folder / "onnx" / "model.onnx"), load_external_data=False).graph
    past = [f"past_key_values.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert [one.name for one in graph.input] == ["input_ids", "attention_mask", "position_ids", *past]
    assert [one.name for one in graph.output] == [
        "logits",
        *(name.replace("past_key_values", "present") for name in past),
    ]
    assert model.settings["decoder"]["layers"] == 2


@pytest.mark.parametrize("engine", EXACT)
def test_texts_that_are_written_in_turns_do_not_mix(engine, exported):
    model, folder = exported
    pool = DecoderPool(open_decoder(folder, model.settings, EXACT[engine], GRAPH))

    def written(prompt: list[int]) -> Iterator[str]:
        with pool.started({}) as decoder:
            yield from map(str, written_tokens(decoder, prompt, (), 6))

    prompts = [TOKENS, TOKENS[::-1], TOKENS[2:]]
    alone = [[*written(prompt)] for prompt in prompts]
    assert in_turns([written(prompt) for prompt in prompts]) == alone
