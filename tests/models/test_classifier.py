"""Classifiers of texts and pictures: transformers' logits in both engines, labels, front ends, folded normalisation."""

from __future__ import annotations

import copy
import io

import numpy as np
import onnx
import pytest
import torch
import transformers
from torch import nn

from engine_rack import EXACT
from penjing.artifact.export import export_component
from penjing.data.pictures import draw
from penjing.data.row import Row
from penjing.errors import DataError, ModelError
from penjing.layers.static import StaticConv
from penjing.layers.weight_only import IntConv
from penjing.methods import make
from penjing.methods.base import Aids
from penjing.models.families.classifier import Classifier
from penjing.models.families.folded import folded
from penjing.models.open import open_model
from penjing.models.reference import TorchGraph
from tiny_encoders import LABELS, resnet, save_image_classifier, save_text_classifier, tokenizer, with_statistics

IMAGES = ("vit", "swin", "resnet", "convnext", "efficientnet")
TEXTS = ("bert", "distilbert")


def feeds_of(kind: str, component, batch: int) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(batch)
    if kind in TEXTS:
        ids = torch.randint(4, 90, (batch, 4 + batch), generator=source)
        mask = torch.ones_like(ids)
        mask[1:, -2:] = 0
        found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (ids > 40).long()}
        return {name: found[name] for name in component.inputs}
    _, channels, height, width = component.inputs["pixel_values"].shape
    sides = (height, width) if kind in ("vit", "swin", "efficientnet") or batch == 1 else (96, 64)
    return {"pixel_values": torch.randn(batch, channels, *sides, generator=source)}


@pytest.mark.parametrize("kind", [*TEXTS, *IMAGES])
def test_graphs_give_what_transformers_gives(kind, opened, tmp_path):
    model = opened(kind)
    (component,) = model.family.components(model.net)
    path = export_component(component, tmp_path)
    graphs = {"torch": TorchGraph(component), **{name: engine.open(path) for name, engine in EXACT.items()}}
    for batch in (1, 3):
        feeds = feeds_of(kind, component, batch)
        with torch.no_grad():
            wanted = model.net(**feeds).logits.numpy()
        for name, graph in graphs.items():
            found = graph({key: value.numpy() for key, value in feeds.items()})["logits"]
            assert np.abs(found - wanted).max() < 1e-4, (name, batch)


@pytest.mark.parametrize(("kind", "names"), [("bert", ["input_ids", "attention_mask", "token_type_ids"]),
                                             ("distilbert", ["input_ids", "attention_mask"]),
                                             ("vit", ["pixel_values"]), ("resnet", ["pixel_values"])])  # fmt: skip
def test_names_are_those_that_transformers_js_reads(kind, names, opened):
    (component,) = opened(kind).family.components(opened(kind).net)
    assert (component.name, list(component.inputs), component.outputs) == ("model", names, ("logits",))


@pytest.mark.parametrize(
    ("config", "matched"),
    [
        (transformers.BertConfig(architectures=["BertForSequenceClassification"], num_labels=2), True),
        (transformers.ViTConfig(architectures=["ViTForImageClassification"]), True),
        (transformers.DeiTConfig(architectures=["DeiTForImageClassification"], num_labels=9), True),
        (transformers.BertConfig(architectures=["BertForSequenceClassification"], num_labels=1), False),
        (
            transformers.BertConfig(
                architectures=["BertForSequenceClassification"],
                num_labels=3,
                problem_type="multi_label_classification",
            ),
            False,
        ),
        (transformers.BertConfig(architectures=["BertForTokenClassification"], num_labels=3), False),
        (transformers.DeiTConfig(architectures=["DeiTForImageClassificationWithTeacher"]), False),
        (transformers.ViTConfig(architectures=["ViTModel"]), False),
        (transformers.LlamaConfig(architectures=["LlamaForSequenceClassification"], num_labels=2), False),
    ],
)
def test_it_matches_one_label_of_several(config, matched):
    assert Classifier().matches(config) == matched


def test_settings_of_a_classifier_of_texts(tmp_path):
    settings = open_model(str(save_text_classifier(tmp_path))).settings
    assert set(settings) == {"labels", "text"}
    assert settings["labels"] == [*LABELS]
    assert settings["text"]["max_length"] == 48
    assert settings["text"]["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]


def test_settings_of_a_classifier_of_pictures(tmp_path, opened):
    settings = open_model(str(save_image_classifier(tmp_path))).settings
    assert set(settings) == {"labels", "image"}
    assert settings["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert settings["image"]["resize"] == {"shortest_edge": 73}
    assert settings["image"]["crop"] == {"height": 64, "width": 64}
    assert opened("vit").settings == {"labels": ["LABEL_0", "LABEL_1", "LABEL_2"], "image": None}
    assert opened("bert").settings["text"] is None


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    draw(number)[0].resize((90, 70)).save(stream, "PNG")
    return stream.getvalue()


def test_batches_are_what_transformers_makes_of_rows(tmp_path):
    text = open_model(str(save_text_classifier(tmp_path / "text")))
    rows = [Row("1", {"text": "The cat sees"}), Row("2", {"text": "a red bird", "text2": "and a tree"})]
    one, two = text.family.batches(text.settings, text.folder, rows)
    wanted = tokenizer()("The cat sees", return_tensors="pt", return_token_type_ids=True)
    assert {name: values.tolist() for name, values in one.items()} == {key: wanted[key].tolist() for key in wanted}
    wanted = tokenizer()("a red bird", "and a tree", return_tensors="pt", return_token_type_ids=True)
    assert {name: values.tolist() for name, values in two.items()} == {key: wanted[key].tolist() for key in wanted}
    assert two["token_type_ids"].sum() == 4
    image = open_model(str(save_image_classifier(tmp_path / "image")))
    (seen,) = image.family.batches(image.settings, image.folder, [Row("1", {"label": "x"}, "image", picture(3))])
    theirs = transformers.ConvNextImageProcessorPil.from_pretrained(image.folder)
    from penjing.data.image import read_image

    expected = theirs(read_image(picture(3)), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(seen["pixel_values"].numpy(), expected, atol=1e-5)


def test_rows_of_the_wrong_kind_and_missing_front_ends(tmp_path, opened):
    text = open_model(str(save_text_classifier(tmp_path / "text")))
    with pytest.raises(DataError, match="row '9' has no text"):
        next(text.family.batches(text.settings, text.folder, [Row("9", {"label": "x"}, "image", picture(1))]))
    image = open_model(str(save_image_classifier(tmp_path / "image")))
    for row in (Row("9", {"text": "a red bus"}), Row("9", {"label": "x"}, "audio", b"RIFF")):
        with pytest.raises(DataError, match="row '9' has no image"):
            next(image.family.batches(image.settings, image.folder, [row]))
    bare = opened("vit")
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        next(bare.family.batches(bare.settings, bare.folder, [Row("9", {}, "image", picture(1))]))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "side"), [("resnet", 64), ("efficientnet", 48)])
def test_normalisation_is_folded_exactly_and_only_in_a_copy(kind, side, opened):
    net = resnet() if kind == "resnet" else with_statistics(copy.deepcopy(opened(kind).net))
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    before = net(pixel_values=pixels).logits
    made = folded(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) > 5
    torch.testing.assert_close(made(pixel_values=pixels).logits, before, atol=1e-4, rtol=1e-4)
    assert torch.equal(net(pixel_values=pixels).logits, before)


def test_what_has_no_normalisation_to_fold_is_not_copied(opened):
    assert folded(opened("vit").net) is opened("vit").net


@torch.no_grad()
@pytest.mark.parametrize(("method", "layer"), [("rtn", IntConv), ("static_int8", StaticConv)])
def test_codes_are_kept_when_normalisation_is_folded(method, layer, tmp_path):
    model = open_model(str(save_image_classifier(tmp_path)))
    rows = [Row(str(number), {}, "image", picture(number)) for number in range(4)]
    batches = list(model.family.batches(model.settings, model.folder, rows))
    # Without a margin: with one, a value of this network lies on a tie, which folding rounds the other way.
    step = make(method, {"max_error": 9.0, "margin": 0} if method == "static_int8" else {})
    step.run(model.towers[0], batches, Aids(model, batches, 0, tmp_path))
    made = folded(model.net)
    pairs = [
        (name, module, made.get_submodule(name))
        for name, module in model.net.named_modules()
        if isinstance(module, layer)
    ]
    assert len(pairs) > 5
    flipped = 0
    for _, before, after in pairs:
        assert torch.equal(before.codes.abs(), after.codes.abs())
        flipped += int((before.codes != after.codes).any())
        if layer is StaticConv:
            assert (after.scales >= 0).all()
    assert (flipped > 0) == (layer is StaticConv)
    for batch in batches:
        wanted = model.net(**batch).logits
        torch.testing.assert_close(made(**batch).logits, wanted, atol=2e-3 * float(wanted.abs().max()), rtol=0)


def test_a_folded_static_graph_runs_alike_in_both_engines(tmp_path):
    model = open_model(str(save_image_classifier(tmp_path)))
    rows = [Row(str(number), {}, "image", picture(number)) for number in range(4)]
    batches = list(model.family.batches(model.settings, model.folder, rows))
    make("static_int8", {"max_error": 9.0}).run(model.towers[0], batches, Aids(model, batches, 0, tmp_path))
    (component,) = model.family.components(model.net)
    path = export_component(component, tmp_path)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("DequantizeLinear") == kinds.count("QuantizeLinear") + kinds.count("Conv")
    for batch in batches:
        feeds = {name: values.numpy() for name, values in batch.items()}
        wanted = TorchGraph(component)(feeds)["logits"]
        for name, engine in EXACT.items():
            found = engine.open(path)(feeds)["logits"]
            assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max(), name


def test_batches_have_the_labels_that_the_model_knows(tmp_path):
    folder = save_text_classifier(tmp_path / "texts")
    model = open_model(str(folder))
    told = [*LABELS, "1", "something else", None]
    rows = [Row(str(place), {"text": "a b"} | ({} if label is None else {"label": label}))
            for place, label in enumerate(told)]  # fmt: skip
    found = [one.get("labels") for one in model.family.batches(model.settings, folder, rows)]
    assert [None if one is None else one.tolist() for one in found] == [
        *([n] for n in range(len(LABELS))),
        [1],
        None,
        None,
    ]
    with_labels, without = model.family.batches(model.settings, folder, [rows[0], rows[-1]])
    (tower,) = (one for one in model.towers if one.blocks)
    assert torch.equal(
        *(getattr(tower.run(one), "last_hidden_state", tower.run(one)) for one in (with_labels, without))
    )
