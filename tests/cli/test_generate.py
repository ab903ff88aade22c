"""A language model from checkpoint to text: compressed, judged by perplexity, written on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tiny_language import CONTEXT

MARGIN = 0.3
"""Where the likeliest token leads by less, int8 weights may lead elsewhere: which engine and chip adds what decides."""


def sure_text(folder: Path, prompt: str, count: int) -> str:
    """What transformers write as long as the likeliest token leads clearly."""
    import transformers

    net = transformers.AutoModelForCausalLM.from_pretrained(folder)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([words(prompt)["input_ids"]])
    with torch.no_grad():
        found = net.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
                             output_scores=True, return_dict_in_generate=True)  # fmt: skip
    leads = [-float(scores[0].topk(2).values.diff()) for scores in found.scores]
    sure = next((place for place, lead in enumerate(leads) if lead < MARGIN), len(leads))
    start = ids.shape[1]
    return words.decode(found.sequences[0, start : start + sure], skip_special_tokens=True).strip()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_it_writes_what_transformers_writes(engine, language_folder, language_artifact, penjing):
    letters = 0
    for prompt in ("the red cat", "a blue bird", "two old houses", "the small dog likes", "a green tree and a road"):
        found = penjing("generate", language_artifact, prompt, "--max-tokens", 12, "--engine", engine).json
        assert set(found) == {"prompt", "text", "pieces", "seconds"}
        assert found["pieces"] <= 12
        sure = sure_text(language_folder, prompt, 12)
        assert found["text"].startswith(sure)
        letters += len(sure)
    assert letters > 20


def test_text_is_shown_as_it_is_written(language_artifact, penjing):
    told = penjing("generate", language_artifact, "the old dog", "--max-tokens", 5, as_json=False)
    text = penjing("generate", language_artifact, "the old dog", "--max-tokens", 5).json["text"]
    assert told.out == f"{text}\n"


def test_the_report_tells_of_perplexity_and_one_table(language_artifact):
    from penjing.artifact.manifest import read_manifest

    manifest = read_manifest(language_artifact)
    assert manifest["task"] == "causal-lm"
    for side in ("source", "result"):
        assert manifest[side]["metrics"]["perplexity"]["value"] > 1
        assert manifest[side]["p50_ms"] > 0
    (table,) = [row for row in manifest["coverage"] if row["kind"] == "embedding"]
    assert table["method"] == "rtn"


def test_evaluate_agrees_with_the_report(texts_file, language_artifact, penjing):
    found = penjing("evaluate", language_artifact, "--data", texts_file, "--engine", "onnxruntime").json
    assert found["measures"]["metrics"]["perplexity"]["n"] == 30


def test_drawn_text_is_the_same_from_one_seed_and_ends_where_it_is_told_to(language_artifact, penjing):
    asked = ("generate", language_artifact, "the old dog", "--max-tokens", 12, "--temperature", 2, "--seed")
    texts = [penjing(*asked, seed).json["text"] for seed in range(4)]
    seed = max(range(4), key=lambda place: len(texts[place]))
    text = texts[seed]
    assert penjing(*asked, seed).json["text"] == text
    assert len({*texts}) > 1
    stop = text[len(text) // 2 :][:3]
    assert penjing(*asked, seed, "--stop", stop).json["text"] == text[: text.index(stop)].rstrip()


def test_a_chat_is_written_as_the_template_says(language_folder, language_artifact, texts_file, tmp_path, penjing):
    folder, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(language_folder, folder)
    template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}it sees"
    (folder / "chat_template.jinja").write_text(template)
    assert penjing("compress", folder, "-o", out, "--data", texts_file, "--goal", "perplexity<=+5%").code == 0
    told = penjing("generate", out, "the cat", "--chat", "--system", "be kind", "--max-tokens", 6).json
    plain = penjing("generate", out, "system be kind user the cat it sees", "--max-tokens", 6).json
    assert told["text"] == plain["text"] != ""
    refused = penjing("generate", out, "the </s> cat", "--chat").check_refused()
    assert refused == ("a message holds </s>, a token of the model's own", "leave it out")
    assert "no chat template" in penjing("generate", language_artifact, "the cat", "--chat").check_refused()[0]
    assert penjing("generate", out, "the cat", "--system", "x").check_refused()[1] == "give --chat, too"


REFUSED = {
    "an empty prompt": ("", "an empty prompt"),
    "a prompt longer than the model reads": ("cat " * (CONTEXT + 1), f"this model reads {CONTEXT} at most"),
}


@pytest.mark.parametrize("wrong", [("--temperature", -1), ("--top-p", 0), ("--seed", -2), ("--stop", "")])
def test_what_cannot_be_drawn(wrong, language_artifact, penjing):
    message, hint = penjing("generate", language_artifact, "the cat", *wrong).check_refused()
    assert message
    assert hint


@pytest.mark.parametrize("case", REFUSED)
def test_prompts_it_cannot_take(case, language_artifact, penjing):
    prompt, message = REFUSED[case]
    assert message in penjing("generate", language_artifact, prompt).check_refused()[0]


def test_an_artifact_that_does_not_write(picture_artifact, penjing):
    assert "does not write on from text" in penjing("generate", picture_artifact, "a cat").check_refused()[0]


def test_data_without_text(language_folder, tmp_path, penjing):
    (tmp_path / "labels.jsonl").write_text("".join(f'{{"label": "{place}"}}\n' for place in range(40)))
    ran = penjing("compress", language_folder, "-o", tmp_path / "out", "--data", tmp_path / "labels.jsonl")
    assert "text" in ran.check_refused()[0]


def test_a_model_without_tokenizer_says_what_to_do(language_folder, tmp_path, penjing):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (bare / name).write_bytes((language_folder / name).read_bytes())
    message, hint = penjing("compress", bare, "-o", tmp_path / "out").check_refused()
    assert "no tokenizer.json" in message
    assert "--format checkpoint" in hint


def test_a_tokenizer_that_was_saved_cutting_and_padding_does_neither(language_folder, texts_file, tmp_path, penjing):
    """Whoever trained the model may have saved its tokenizer after the last batch."""
    import json

    folder = tmp_path / "model"
    shutil.copytree(language_folder, folder)
    saved = json.loads((folder / "tokenizer.json").read_text())
    saved["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    saved["padding"] = {
        "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    found = [
        penjing("evaluate", one, "--data", texts_file, "--engine", "torch").json["measures"]["metrics"]["perplexity"]
        for one in (language_folder, folder)
    ]
    assert found[0] == found[1]


def test_a_model_too_large_for_one_file_gets_a_checkpoint(language_folder, texts_file, tmp_path, penjing, monkeypatch):
    monkeypatch.setattr("penjing.pipeline.graphs.MOST_GRAPH_BYTES", 1000)
    out, asked = tmp_path / "out", ("--data", texts_file, "--goal", "perplexity<=+5%")
    assert penjing("compress", language_folder, "-o", out, *asked).code == 0
    assert {path.name for path in out.iterdir()} >= {"checkpoint", "penjing.json"}
    assert not (out / "onnx").exists()
    refused = penjing("compress", language_folder, "-o", tmp_path / "graphs", "--format", "onnx", *asked)
    assert "too large for one ONNX file" in refused.check_refused()[0]
    message, hint = penjing("evaluate", language_folder, "--data", texts_file).check_refused()
    assert "too large for one ONNX file" in message
    assert "--engine torch" in hint


def test_a_cache_of_codes(penjing, language_folder, texts_file, tmp_path):
    """The step is for what is remembered; weights have one of their own, and both engines write on."""
    import onnx

    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text("version: 1\nsteps: [{method: rtn, bits: 8}, {method: int8_cache}]\ngoals: ['perplexity<=+5%']\n")
    asked = ("--data", str(texts_file), "--recipe", str(recipe))
    done = penjing("compress", str(language_folder), "-o", str(out), *asked)
    assert done.code == 0, done.err
    graph = onnx.load(str(out / "onnx" / "model.onnx"), load_external_data=False).graph
    kinds = {one.type.tensor_type.elem_type for one in graph.input if one.name.startswith("past_key_values.")}
    assert kinds == {onnx.TensorProto.INT8}
    said = {
        engine: penjing("generate", str(out), "the old dog", "--max-tokens", "5", "--engine", engine).json["text"]
        for engine in ("openvino", "onnxruntime")
    }
    assert said["openvino"] == said["onnxruntime"] != ""
