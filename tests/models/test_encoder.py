"""Encoders of texts: transformers' hidden states in both engines, pooling from sentence-transformers' files."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
import transformers

import penjing
from engine_rack import EXACT
from penjing.artifact.checkpoint import copy_configuration
from penjing.artifact.export import export_component
from penjing.calibrate.runner import reference_runner
from penjing.data.row import Row
from penjing.errors import DataError, ModelError
from penjing.models.families.encoder import Encoder
from penjing.models.families.encoder_settings import pooling_of
from penjing.models.open import open_model
from penjing.models.reference import TorchGraph
from penjing.runtimes.settings import check_settings
from tiny_encoders import save_encoder, tokenizer, write_stages

KINDS = ("minilm", "roberta_bare", "distilbert_bare", "mpnet")
TEXTS = [
    "the red cat sees a tree",
    "two small blue birds",
    "it is not far and then we find the old house near the river",
]


def inputs(names, batch: int, tokens: int) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(batch)
    ids = torch.randint(4, 90, (batch, tokens), generator=source)
    mask = torch.ones_like(ids)
    mask[1:, -3:] = 0
    types = torch.zeros_like(ids)
    types[:, tokens // 2 :] = 1
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: found[name] for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_give_what_transformers_gives(kind, opened, tmp_path):
    model = opened(kind)
    (component,) = model.family.components(model.net)
    path = export_component(component, tmp_path)
    graphs = {"torch": TorchGraph(component), **{name: engine.open(path) for name, engine in EXACT.items()}}
    for shape in ((1, 5), (3, 14)):
        feeds = inputs(component.inputs, *shape)
        with torch.no_grad():
            wanted = model.net(**feeds).last_hidden_state.numpy()
        seen = feeds["attention_mask"].numpy().astype(bool)
        for name, graph in graphs.items():
            found = graph({key: value.numpy() for key, value in feeds.items()})["last_hidden_state"]
            assert np.abs(found - wanted)[seen].max() < 1e-4, (name, shape)


@pytest.mark.parametrize("kind", ["minilm", "roberta_bare"])
def test_names_are_those_that_transformers_js_reads(kind, opened, tmp_path):
    (component,) = opened(kind).family.components(opened(kind).net)
    graph = onnx.load(str(export_component(component, tmp_path))).graph
    assert component.name == "model"
    segments = ["token_type_ids"] if kind == "minilm" else []
    assert [one.name for one in graph.input] == ["input_ids", "attention_mask", *segments]
    assert [one.name for one in graph.output] == ["last_hidden_state"]


def test_what_only_a_head_reads_is_no_part_of_the_encoder(opened):
    model = opened("minilm")
    text, pooler, _ = model.towers
    assert (pooler.name, pooler.role, list(pooler.sites)) == ("pooler", "head", ["pooler.dense"])
    assert not any("pooler" in name for name in (*text.sites, *text.parameter_names))
    probe = model.family.probe(model.net, 0)
    with torch.no_grad():
        assert torch.equal(text.run(probe), model.net(**probe).last_hidden_state)
    assert [tower.name for tower in opened("distilbert_bare").towers] == ["text", "embedding"]


@pytest.mark.parametrize(
    ("config", "matched"),
    [
        (transformers.BertConfig(architectures=["BertModel"]), True),
        (transformers.BertConfig(), True),
        (transformers.MPNetConfig(architectures=["MPNetModel"]), True),
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), False),
        (transformers.BertConfig(architectures=["BertModel"], is_decoder=True), False),
        (transformers.ViTConfig(architectures=["ViTModel"]), False),
    ],
)
def test_it_matches_encoders_without_a_head(config, matched):
    assert Encoder().matches(config) == matched


def test_settings_say_what_the_shop_needs(tmp_path):
    model = open_model(str(save_encoder(tmp_path)))
    assert model.settings == {
        "text": {
            "inputs": ["input_ids", "attention_mask", "token_type_ids"], "max_length": 32, "padding": "longest",
            "pad_id": 0, "pad_token": "[PAD]", "pad_side": "right", "lower": False,
        },
        "pooling": "mean",
        "embed_dim": 64,
        "normalise": True,
    }  # fmt: skip
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": null, "do_lower_case": true}')
    again = open_model(str(tmp_path)).settings["text"]
    assert (again["max_length"], again["lower"]) == (48, True)


def test_positions_are_counted_from_behind_the_padding_token(opened):
    from penjing.models.front_ends import longest_text

    assert longest_text(opened("minilm").config, opened("minilm").net.embeddings) == 64
    assert longest_text(opened("roberta_bare").config, opened("roberta_bare").net.embeddings) == 62


@pytest.mark.parametrize(
    ("pooling", "found"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_pooling_is_read_from_the_folder(pooling, found, tmp_path):
    write_stages(tmp_path, pooling)
    assert pooling_of(tmp_path) == found
    (tmp_path / "modules.json").unlink()
    assert pooling_of(tmp_path) == found


def test_pooling_is_where_the_stages_say(tmp_path):
    assert pooling_of(tmp_path) == "mean"
    write_stages(tmp_path, {"pooling_mode_cls_token": True})
    (tmp_path / "1_Pooling").rename(tmp_path / "pool")
    stages = json.loads((tmp_path / "modules.json").read_text())
    stages[1]["path"] = "pool"
    (tmp_path / "modules.json").write_text(json.dumps(stages))
    assert pooling_of(tmp_path) == "cls"


@pytest.mark.parametrize(
    ("pooling", "kinds", "message"),
    [
        ({"pooling_mode_lasttoken": True}, ("Pooling",), "pools by pooling_mode_lasttoken"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("Pooling",), "pools by"),
        ({"pooling_mode": "meen"}, ("Pooling",), "unknown pooling 'meen'"),
        ({"pooling_mode_mean_tokens": True}, ("Pooling", "Dense"), "a stage 'Dense'"),
    ],
)
def test_what_would_give_other_vectors_is_refused(pooling, kinds, message, tmp_path):
    write_stages(tmp_path, pooling, kinds)
    with pytest.raises(ModelError, match=message) as caught:
        pooling_of(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["no json", "{}", "[1]"])
def test_stages_that_cannot_be_read(text, tmp_path):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(ModelError, match=r"modules\.json"):
        pooling_of(tmp_path)


def test_the_stages_travel_with_the_configuration(tmp_path):
    source, target = save_encoder(tmp_path / "source"), tmp_path / "target"
    target.mkdir()
    copy_configuration(source, target)
    names = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json")
    assert all((target / name).read_bytes() == (source / name).read_bytes() for name in names)


def test_batches_are_what_transformers_tokenizes(tmp_path):
    model = open_model(str(save_encoder(tmp_path)))
    rows = [Row(str(place), {"text": text}) for place, text in enumerate(TEXTS)]
    for text, batch in zip(TEXTS, model.family.batches(model.settings, model.folder, rows), strict=True):
        wanted = tokenizer()(text, return_tensors="pt", return_token_type_ids=True)
        assert {name: values.tolist() for name, values in batch.items()} == {
            name: values.tolist() for name, values in wanted.items()
        }


def test_rows_without_text_and_folders_without_tokenizer(opened, tmp_path):
    model = opened("minilm")
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        next(model.family.batches(model.settings, model.folder, [Row("1", {"text": "a"})]))
    model = open_model(str(save_encoder(tmp_path)))
    with pytest.raises(DataError, match="row '7' has no text"):
        next(model.family.batches(model.settings, model.folder, [Row("7", {"label": "a"}, "image", b"png")]))


def test_the_default_prompt_stands_before_every_text(tmp_path):
    folder = save_encoder(tmp_path)
    path = folder / "config_sentence_transformers.json"
    prompts = {"query": "find a ", "document": ""}
    path.write_text(json.dumps({"prompts": prompts, "default_prompt_name": None}))
    assert "prefix" not in open_model(str(folder)).settings["text"]
    path.write_text(json.dumps({"prompts": prompts, "default_prompt_name": "query"}))
    model = open_model(str(folder))
    check_settings("encoder", model.settings, "settings")
    (batch,) = model.family.batches(model.settings, model.folder, [Row("r", {"text": "red cat"})])
    assert batch["input_ids"].tolist() == [tokenizer()("find a red cat")["input_ids"]]
    runner, plain = reference_runner(model), reference_runner(open_model(str(save_encoder(tmp_path / "plain"))))
    assert np.allclose(runner.embed_texts(TEXTS), plain.embed_texts([f"find a {text}" for text in TEXTS]), atol=1e-6)


@pytest.mark.parametrize(
    ("document", "pooling", "message"),
    [
        ({"prompts": {}, "default_prompt_name": "query"}, {}, "has no prompt 'query', its default"),
        ({"default_prompt_name": "query"}, {}, "has no prompt 'query', its default"),
        (
            {"prompts": {"query": "q: "}, "default_prompt_name": "query"},
            {"include_prompt": False},
            "out of the pooling",
        ),
    ],
)
def test_prompts_that_cannot_be_honoured(document, pooling, message, tmp_path):
    folder = save_encoder(tmp_path)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(document))
    config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({**config, **pooling}))
    with pytest.raises(ModelError, match=message):
        open_model(str(folder))


@pytest.mark.parametrize(("name", "notes"), [("dot", 1), ("euclidean", 1), ("cosine", 0), (None, 0)])
def test_vectors_that_are_not_meant_for_cosines_are_told(name, notes, tmp_path):
    folder = save_encoder(tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": name}))
    found = open_model(str(folder)).settings.get("notes", [])
    assert len(found) == notes
    assert all(f"asks for {name}" in note for note in found)


def test_what_is_told_of_a_model_is_in_its_report(tmp_path):
    folder = save_encoder(tmp_path / "model")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "dot"}))
    penjing.compress(folder, tmp_path / "out", recipe=["rtn"], goals=["cosine>=0.9"], threads=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("compared by cosine" in line for line in report["warnings"])
