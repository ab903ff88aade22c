"""Vision-language models as three graphs: tokens, pixels, logits and words are transformers', in all engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from PIL import Image

from engine_rack import EXACT, in_turns
from penjing.artifact.manifest import read_manifest
from penjing.calibrate.runner import reference_runner
from penjing.data.chat import Message
from penjing.data.vision_prompt import VisionPrompt
from penjing.errors import DataError, ModelError
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.pipeline.graphs import export_graphs, runnable
from penjing.pipeline.measure import exported
from penjing.runtimes import open_runner
from penjing.runtimes.sampling import Sampling, Style
from penjing.values import silent
from tiny_vision_language import KINDS, save_vision_language

QUESTION = "how many red circles are there ?"
SIZES = [(40, 40), (90, 50), (33, 100), (200, 30), (32, 32)]
READ = ("input_ids", "attention_mask", "pixel_values", "pixel_attention_mask")
TOKENS = 10


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seeing")
    return {kind: save_vision_language(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind, folders) -> Model:
    return open_model(str(folders[kind]))


@pytest.fixture(scope="module")
def graphs(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    export_graphs(model, folder, "source", silent)
    runnable(model, folder)
    return folder


def picture(width: int, height: int) -> Image.Image:
    dice = np.random.default_rng(width)
    return Image.fromarray(dice.integers(0, 255, (height, width, 3), dtype=np.uint8))


def by_processor(
    kind: str, folder: Path, image: Image.Image, turns: Sequence[str] = (QUESTION,)
) -> dict[str, torch.Tensor]:
    """What transformers' own processor makes of a picture and a question, or questions and answers in turns."""
    words = transformers.AutoTokenizer.from_pretrained(folder)
    eye = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    if kind.startswith("llava"):
        named = kind == "llava"
        made = transformers.LlavaProcessor(
            eye, words, patch_size=8, vision_feature_select_strategy="default" if named else "full",
            image_token="<image>", num_additional_image_tokens=int(named),
        )  # fmt: skip
        text = f"USER: <image>\n{turns[0]} ASSISTANT:"
        for answer, question in zip(turns[1::2], turns[2::2], strict=True):
            text += f" {answer}</s>USER: {question} ASSISTANT:"
        return dict(made(images=image, text=text, return_tensors="pt").items())
    template = (folder / "chat_template.jinja").read_text()
    made = transformers.Idefics3Processor(eye, words, image_seq_len=4, chat_template=template)
    said: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[place % 2], "content": [{"type": "text", "text": turn}]}
        for place, turn in enumerate(turns)
    ]
    said[0]["content"].insert(0, {"type": "image"})
    text = made.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    found = made(images=[[image]], text=[text], return_tensors="pt", add_special_tokens=False)
    return {name: value for name, value in found.items() if name in READ}


@pytest.mark.parametrize("size", SIZES)
def test_tokens_and_pixels_are_the_processors(size, kind, model):
    image = picture(*size)
    wanted = by_processor(kind, model.folder, image)
    prompt = VisionPrompt(model.settings, model.folder / "tokenizer.json")
    found = prompt(image, QUESTION)
    assert [*found.tokens] == wanted["input_ids"][0].tolist()
    for name, values in found.inputs(prompt.tiled).items():
        assert np.array_equal(values, wanted[name].numpy())


@pytest.mark.parametrize("engine", ["torch", *EXACT])
def test_logits_and_words_are_those_of_transformers(engine, kind, model, graphs):
    image = picture(90, 50)
    inputs = {name: value for name, value in by_processor(kind, model.folder, image).items() if name in READ}
    with torch.no_grad():
        logits = model.net(**inputs).logits[0].numpy()
        written = model.net.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0]
    runner = reference_runner(model)
    if engine != "torch":
        runner = open_runner(graphs, read_manifest(graphs), EXACT[engine])
    found, tokens = runner.logits(image, QUESTION)
    assert len(tokens) == len(logits)
    assert np.abs(found - logits).max() < 1e-4
    words = transformers.AutoTokenizer.from_pretrained(model.folder)
    wanted = words.decode(written[len(tokens) :], skip_special_tokens=True)
    assert runner.ask(image, QUESTION, Style(TOKENS)) == wanted.strip()


def test_the_encoder_is_timed_on_what_the_runner_feeds_it_at_once(model, tmp_path):
    runner, fed = reference_runner(model), []
    see = runner._vision
    runner._vision = lambda arrays: fed.append({name: arrays[name].shape for name in see.inputs}) or see(arrays)
    runner.ask(picture(90, 50), QUESTION, Style(1))
    _, timed = exported(model, model.family.components(model.net), tmp_path).inputs["vision_encoder"]
    assert len(fed) >= 1
    assert all(shapes == {name: array.shape for name, array in timed.items()} for shapes in fed)


def test_text_alone_is_written_on_from(model):
    runner = reference_runner(model)
    ids = torch.tensor([runner._words.encode("the red circle").ids])
    with torch.no_grad():
        written = model.net.generate(input_ids=ids, do_sample=False, max_new_tokens=5)[0, ids.shape[1] :]
    assert "".join(runner.generate("the red circle", Style(5))) == runner._words.decode(written.tolist())


def test_names_are_those_that_transformers_js_reads(kind, model, graphs):
    past = [f"past_key_values.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    seen = ["pixel_values"] if kind.startswith("llava") else ["pixel_values", "pixel_attention_mask"]
    wanted = {
        "vision_encoder": (seen, ["image_features"]),
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "decoder_model_merged": (
            ["inputs_embeds", "attention_mask", "position_ids", *past],
            ["logits", *(name.replace("past_key_values", "present") for name in past)],
        ),
    }
    for name, (inputs, outputs) in wanted.items():
        graph = onnx.load(str(graphs / "onnx" / f"{name}.onnx"), load_external_data=False).graph
        assert [one.name for one in graph.input] == inputs
        assert [one.name for one in graph.output] == outputs
        assert not [node for node in graph.node if node.op_type == "If"]


def test_a_smaller_picture_is_spread_over_all_places(folders):
    """Where pixels are masked (no picture of ours is), patches get the places that transformers gives them."""
    model = open_model(str(folders["smolvlm"]))
    pixels = torch.randn(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 2, 32, 32, dtype=torch.bool)
    mask[0, 1, 24:], mask[0, 1, :, 16:] = False, False
    with torch.no_grad():
        wanted = model.net.get_image_features(pixels, mask).pooler_output
        found = model.family.components(model.net)[0].module(pixels, mask)
    assert (found.flatten(0, 1) - torch.cat(list(wanted))).abs().max() < 1e-5


def test_towers(kind, model):
    towers = {tower.name: tower for tower in model.towers}
    assert {*towers} - {"head"} == {"image", "decoder", "connector", "embedding"}
    assert ("head" in towers) == kind.startswith("llava")
    owned = [name for tower in model.towers for name in tower.parameter_names]
    assert sorted(owned) == sorted(name for name, _ in model.net.named_parameters())
    probe = model.family.probe(model.net, 0)
    origins = towers["decoder"].origins(probe)
    assert origins.tolist() == (probe["input_ids"][0] != model.net.config.image_token_id).long().tolist()


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"max_image_size": {"longest_edge": 64}}, "gives pictures of size 64, the encoder reads 32 × 32"),
    "kind": ({"image_processor_type": "CLIPImageProcessor"}, "unknown image processor option"),
    "option": ({"do_center_crop": True}, "unknown image processor option 'do_center_crop'"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_front_end_that_is_another_is_refused(case, tmp_path):
    changed, message = CHANGED[case]
    with pytest.raises(ModelError, match=message):
        open_model(str(save_vision_language(tmp_path / "model", "smolvlm", changed)))


def test_without_splitting_the_whole_is_one_tile(tmp_path):
    model = open_model(str(save_vision_language(tmp_path / "model", "smolvlm", {"do_image_splitting": False})))
    image = picture(90, 50)
    wanted = by_processor("smolvlm", model.folder, image)
    found = VisionPrompt(model.settings, model.folder / "tokenizer.json")(image, QUESTION)
    assert found.pixels.shape == (1, 3, 32, 32)
    assert [*found.tokens] == wanted["input_ids"][0].tolist()
    assert np.array_equal(found.pixels, wanted["pixel_values"][0].numpy())


def test_questions_that_cannot_be_asked(model):
    prompt = VisionPrompt(model.settings, model.folder / "tokenizer.json")
    for question, message in (
        (" ", "an empty question"),
        ("what is <image> ?", "the question holds <image>, a token of the model's own"),
        ("red " * 600, "this model reads 512 at most"),
    ):
        with pytest.raises(DataError, match=message):
            prompt(picture(40, 40), question)


@pytest.mark.parametrize("engine", EXACT)
def test_answers_that_are_consumed_in_turns_do_not_mix(engine, model, graphs):
    runner = open_runner(graphs, read_manifest(graphs), EXACT[engine])
    style = Style(6, Sampling(1.0, seed=2))
    pictures = [picture(50, 40), picture(90, 60)]
    alone = [[*runner.asking(one, "what is this?", style)] for one in pictures]
    assert in_turns([runner.asking(one, "what is this?", style) for one in pictures]) == alone


def test_a_follow_up_is_written_as_the_template_does(kind, model):
    prompt = VisionPrompt(model.settings, model.folder / "tokenizer.json")
    image, turns = picture(90, 50), [QUESTION, "three", "what color ?", "red and blue", "where ?"]
    for count in (3, 5):
        *before, last = [
            Message("assistant" if place % 2 else "user", turn) for place, turn in enumerate(turns[:count])
        ]
        wanted = by_processor(kind, model.folder, image, turns[:count])["input_ids"][0]
        assert [*prompt(image, last.text, before=before).tokens] == wanted.tolist()
    with pytest.raises(DataError, match="come in turns"):
        prompt(image, "what ?", before=before[:1])
    with pytest.raises(DataError, match="a message holds </s>"):
        prompt(image, "what ?", before=[Message("user", "a"), Message("assistant", "b</s>")])


def test_a_follow_up_that_artifacts_of_before_do_not_know(model):
    older = {**model.settings, "prompt": {**model.settings["prompt"], "turns": None}}
    prompt = VisionPrompt(older, model.folder / "tokenizer.json")
    with pytest.raises(DataError, match="no further question"):
        prompt(picture(40, 40), "what ?", before=[Message("user", "a"), Message("assistant", "b")])
