"""BLIP as graphs: what it says is what transformers says, in PyTorch and in both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from engine_rack import EXACT, in_turns
from penjing.artifact.manifest import read_manifest
from penjing.calibrate.runner import reference_runner
from penjing.data.image import ImageFrontEnd
from penjing.errors import DataError
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.pipeline.graphs import export_graphs, runnable
from penjing.runtimes import open_runner
from penjing.runtimes.decoder import open_decoder
from penjing.runtimes.sampling import Sampling, Style
from penjing.values import silent
from tiny_vision_language import save_blip

QUESTION = "how many red circles are there ?"
ENGINES = ["torch", *EXACT]
TOKENS = 10


def picture() -> Image.Image:
    dice = np.random.default_rng(0)
    return Image.fromarray(dice.integers(0, 255, (50, 90, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=[False, True], ids=["captions", "answers"])
def asks(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def model(asks, tmp_path_factory) -> Model:
    return open_model(str(save_blip(tmp_path_factory.mktemp("blip") / "model", asks=asks)))


@pytest.fixture(scope="module")
def graphs(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    export_graphs(model, folder, "source", silent)
    runnable(model, folder)
    return folder


def test_pixels_are_the_processors(model):
    eye = transformers.AutoImageProcessor.from_pretrained(model.folder, backend="pil")
    wanted = eye(picture(), return_tensors="np")["pixel_values"][0]
    assert np.array_equal(ImageFrontEnd(model.settings["image"])(picture()), wanted)


@pytest.mark.parametrize("engine", ENGINES)
def test_words_are_those_of_transformers(engine, asks, model, graphs):
    pixels = torch.from_numpy(ImageFrontEnd(model.settings["image"])(picture()))[None]
    words = transformers.AutoTokenizer.from_pretrained(model.folder)
    asked = {"input_ids": torch.tensor([words(QUESTION)["input_ids"]])} if asks else {}
    with torch.no_grad():
        written = model.net.generate(pixel_values=pixels, **asked, do_sample=False, max_new_tokens=TOKENS)[0]
    wanted = words.decode(written[1:], skip_special_tokens=True)
    runner = reference_runner(model)
    if engine != "torch":
        runner = open_runner(graphs, read_manifest(graphs), EXACT[engine])
    assert runner.task == model.family.task
    assert (
        runner.ask(picture(), QUESTION, Style(TOKENS)) if asks else runner.caption(picture(), Style(TOKENS))
    ) == wanted
    assert hasattr(runner, "caption") != hasattr(runner, "ask")


@pytest.mark.parametrize("engine", EXACT)
def test_logits_are_those_of_transformers(engine, asks, model, graphs):
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ids, question = torch.tensor([[8, 20, 21, 22, 9]]), torch.tensor([[1, 30, 31, 2]])
    inputs = {"input_ids": question, "decoder_input_ids": ids} if asks else {"input_ids": ids}
    found: list[torch.Tensor] = []
    hook = model.net.text_decoder.cls.register_forward_hook(lambda module, args, output: found.append(output))
    with torch.no_grad():
        model.net(pixel_values=pixels, **inputs)
    hook.remove()
    arrays = {"pixel_values": pixels.numpy(), "input_ids": question.numpy()}
    for name in ("vision_model", "encoder_model") if asks else ("encoder_model",):
        arrays |= EXACT[engine].open(graphs / "onnx" / f"{name}.onnx")(arrays)
    decoder = open_decoder(graphs, model.settings, EXACT[engine])
    decoder.start({name: array for name, array in arrays.items() if name.startswith("present.")})
    parts = np.concatenate([decoder.read([8, 20]).copy(), decoder.read([21, 22, 9]).copy()])
    assert np.abs(parts - found[0][0].numpy()).max() < 1e-4


def test_towers_take_the_probe(model):
    owned = [name for tower in model.towers for name in tower.parameter_names]
    assert sorted(owned) == sorted(name for name, _ in model.net.named_parameters())
    probe = model.family.probe(model.net, 0)
    for tower in model.towers:
        tower.run(probe)


def test_what_cannot_be_asked(asks, model):
    if asks:
        runner = reference_runner(model)
        for question, message in (
            (" ", "an empty question"),
            ("red " * 99, "64 tokens or more"),
            (b"", "does not hear"),
        ):
            with pytest.raises(DataError, match=message) as told:
                runner.ask(picture(), question)
            assert told.value.hint


@pytest.mark.parametrize("engine", EXACT)
def test_answers_that_are_consumed_in_turns_do_not_mix(engine, asks, model, graphs):
    runner = open_runner(graphs, read_manifest(graphs), EXACT[engine])
    style = Style(TOKENS, Sampling(1.0, seed=2))
    pictures = [picture(), picture().rotate(90), picture().rotate(180)]

    def begun() -> list[Iterator[str]]:
        if asks:
            return [runner.asking(one, QUESTION, style) for one in pictures]
        return [runner.captioning(one, style) for one in pictures]

    assert in_turns(begun()) == [[*pieces] for pieces in begun()]


def test_a_question_that_holds_a_special_token_is_refused(asks, model, graphs):
    if not asks:
        pytest.skip("a captioner is asked nothing")
    runner = open_runner(graphs, read_manifest(graphs), EXACT["onnxruntime"])
    token = runner._words.id_to_token(2)
    with pytest.raises(DataError, match="a token of the model's own"):
        runner.ask(picture(), f"how many {token} ?")
