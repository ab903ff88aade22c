"""The model card: front matter that the hub can read, commands that fit the task, text that cannot break out."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from penjing.report.card import code, fence, front_matter, model_card, plain, write_card
from penjing.report.document import CheckpointPart, Document, ModelPart, TowerPart, parse

pytestmark = pytest.mark.shop


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, flags=re.DOTALL | re.MULTILINE)


def test_front_matter_of_a_whisper(published):
    opening = model_card(published).split("---\n")[1]
    assert yaml.safe_load(opening) == {
        "base_model": "openai/whisper-tiny.en",
        "library_name": "onnx",
        "license": "apache-2.0",
        "pipeline_tag": "automatic-speech-recognition",
        "tags": ["penjing", "compressed", "onnx", "openvino", "static_int8", "float16", "rtn"],
    }


def test_a_local_model_is_no_base_model_and_an_unknown_license_is_not_guessed(refused):
    found = front_matter(refused)
    assert "base_model" not in found
    assert "license" not in found
    assert "The license of the source model applies" in model_card(refused)


def test_the_card_tells_measures_machine_recipe_and_limits(published):
    card = model_card(published)
    assert "| word error rate | 4.1% | **4.5%** | +0.3 points | −0.5 … +1.2 |" in card
    assert "Intel Xeon (AVX-512 VNNI), Debian GNU/Linux 12, 2026-11-22." in card
    assert yaml.safe_load(blocks(card, "yaml")[0])["steps"][1]["bits"] == 8
    assert "- `wer<=+0.01`: not proven at n=60." in card
    assert "left: tied to model.decoder.embed_tokens" in card


def test_a_whisper_is_told_to_run_in_two_engines_only(published):
    card = model_card(published)
    assert "penjing transcribe whisper-small call.wav" in blocks(card, "sh")[0]
    assert "ONNX Runtime and OpenVINO, not in transformers.js" in card
    program = blocks(card, "python")[0]
    ast.parse(program)
    assert '"whisper-small/onnx/encoder_model.onnx"' in program


def test_other_tasks_are_not_told_to_transcribe(refused):
    card = model_card(refused)
    assert "transcribe" not in card
    assert "pictures-2bit/onnx/vision_model.onnx" in card
    assert "zero-shot-image-classification" in card


def test_a_checkpoint_has_no_graphs_to_run():
    card = model_card(parse({"published": True, "model": {"id": "x"}, "artifact": "out"}))
    assert "no ONNX graphs" in card
    assert "library_name: transformers" in card
    assert "only the likeness of outputs was measured" in card


def test_tables_keep_their_columns_whatever_the_text(hostile):
    card = model_card(hostile)
    for line in card.splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) in (6, 7)
    prose = re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    assert "<script>" not in re.sub(r"`[^`]*`", "", prose).replace("\\<script\\>", "").split("---\n", 2)[2]
    ast.parse(blocks(card, "python")[0])


def test_small_tools():
    assert plain("a|b\n<i>") == r"a\|b \<i\>"
    assert code("a`b\nc") == "`a'b c`"
    assert fence("x\n```\ny") == "````\nx\n```\ny\n````"


def test_writing(tmp_path, published):
    write_card(published, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf8") == model_card(published)


def test_a_checkpoint_that_transformers_opens_says_how():
    document = Document(
        published=True,
        artifact="small",
        model=ModelPart(architecture="LlamaForCausalLM", task="causal-lm"),
        checkpoint=CheckpointPart(layout="compressed-tensors"),
    )
    card = model_card(document)
    assert 'LlamaForCausalLM.from_pretrained("small/checkpoint")' in card
    assert "no ONNX graphs" in card
    assert "penjing evaluate small --data DATA --engine torch" in card  # what holds graphs alone needs no torch
    own = document.model_copy(update={"checkpoint": CheckpointPart(layout="penjing", note="no place")})
    assert "from_pretrained" not in model_card(own)


def test_a_checkpoint_without_a_task_names_no_command_that_fails():
    card = model_card(Document(published=True, artifact="small", checkpoint=CheckpointPart(layout="penjing")))
    assert "penjing evaluate" not in card
    (program,) = blocks(card, "python")
    ast.parse(program)
    assert 'load_network(Path("small/checkpoint"))' in program


@pytest.mark.parametrize(
    ("modality", "tag"), [("audio", "zero-shot-audio-classification"), ("image", "zero-shot-image-classification")]
)
def test_a_dual_encoder_is_tagged_by_what_it_reads(modality, tag):
    towers = (TowerPart(name=modality, modality=modality), TowerPart(name="text", modality="text"))
    assert (
        front_matter(Document(published=True, model=ModelPart(task="dual-encoder"), towers=towers))["pipeline_tag"]
        == tag
    )
