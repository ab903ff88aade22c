"""The family of dual encoders: who owns what, what the towers compute, what the graphs give, what the shop is told."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import dual_folders as tiny
import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

from penjing.artifact.export import export_component
from penjing.calibrate.stats import Range
from penjing.calibrate.walk import walk
from penjing.data.pictures import draw
from penjing.data.row import Row
from penjing.errors import DataError, ModelError
from penjing.models.families.dual_encoder import DualEncoder
from penjing.models.tower import Batch, Tower

FAMILY = DualEncoder()
TEXTS = ["a small RED bus", "the barking dog on the left of a large grey cat"]


@pytest.fixture(scope="module", params=tiny.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def net(name: str) -> Any:
    return tiny.network(name)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(name, tmp_path_factory.mktemp(name))


def check_ownership(net: torch.nn.Module, towers: list[Tower]) -> None:
    """Every parameter has one owner, and a site's own weights belong to the tower that lists the site."""
    owned = [name for tower in towers for name in tower.parameter_names]
    assert sorted(owned) == sorted(name for name, _ in net.named_parameters())
    for tower in towers:
        for name, site in tower.sites.items():
            assert net.get_submodule(name) is site.module
            assert {f"{name}.{key}" for key, _ in site.module.named_parameters()} <= tower.parameter_names


def inputs(name: str, net: Any, count: int, tokens: int = 7) -> dict[str, torch.Tensor]:
    """Random inputs of `count` items; the last text is shorter than the others."""
    source = torch.Generator().manual_seed(count)
    length = 16 if name == "siglip" else tokens
    ids = torch.randint(3, 39, (count, length), generator=source)
    mask = torch.ones_like(ids)
    if count > 1:
        ids[-1, -3:], mask[-1, -3:] = 0, 0
    end = net.config.text_config.eos_token_id
    ids[:, length - 4] = end
    found = {"input_ids": ids, "attention_mask": mask}
    if name.startswith("clap"):
        channels = 4 if name == "clap_fused" else 1
        found["input_features"] = torch.randn(count, channels, 1001, 64, generator=source)
        found["is_longer"] = torch.tensor([[True], [False], [True]])[:count]
    else:
        found["pixel_values"] = torch.randn(count, 3, 32, 32, generator=source)
    return found


def by_transformers(name: str, net: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """Projected, not normalised embeddings of both sides, by transformers' own modules."""
    mask = {} if name == "siglip" else {"attention_mask": batch["attention_mask"]}
    text = net.text_model(input_ids=batch["input_ids"], **mask).pooler_output
    if name.startswith("clap"):
        heard = net.audio_model(batch["input_features"], is_longer=batch["is_longer"]).pooler_output
        return {"audio": net.audio_projection(heard), "text": net.text_projection(text)}
    seen = net.vision_model(pixel_values=batch["pixel_values"]).pooler_output
    if name == "siglip":
        return {"image": seen, "text": text}
    return {"image": net.visual_projection(seen), "text": net.text_projection(text)}


def test_matches_whole_dual_encoders_only(net: Any) -> None:
    import transformers

    assert FAMILY.matches(net.config)
    for other in (transformers.CLIPVisionConfig(), transformers.BertConfig(), transformers.Siglip2Config()):
        assert not FAMILY.matches(other)
    assert not FAMILY.matches(transformers.CLIPConfig(architectures=["CLIPForImageClassification"]))


def test_every_parameter_has_one_owner(name: str, net: Any) -> None:
    towers = FAMILY.towers(net)
    check_ownership(net, towers)
    media = "audio" if name.startswith("clap") else "image"
    roles = [(tower.name, tower.role, tower.modality) for tower in towers]
    assert roles == [(media, "encoder", media), ("text", "encoder", "text"), ("text_embedding", "embedding", "text")]
    assert [len(tower.blocks) for tower in towers] == [3 if media == "audio" else 2, 2, 0]
    assert not any("logit_scale" in key for tower in (towers[0], towers[2]) for key in tower.parameter_names)


def test_sites_are_told_apart(name: str, net: Any) -> None:
    media, text, table = FAMILY.towers(net)
    assert [site.kind for site in table.sites.values()] == ["embedding"]
    assert {site.kind for site in media.sites.values()} == (
        {"linear", "conv", "position"} if name in ("clip", "siglip") else {"linear", "conv"}
    )
    assert {site.kind for site in text.sites.values()} == {"linear", "position"}
    everything = {key for tower in (media, text, table) for key in tower.sites}
    linear = {key for key, module in net.named_modules() if type(module) is torch.nn.Linear}
    assert linear <= everything
    if name != "siglip":
        projection = "audio_projection.linear1" if media.name == "audio" else "visual_projection"
        assert projection in media.sites
        assert any(key.startswith("text_projection") for key in text.sites)


@torch.no_grad()
def test_towers_compute_what_transformers_computes(name: str, net: Any) -> None:
    batch = inputs(name, net, 3)
    expected = by_transformers(name, net, batch)
    for tower in FAMILY.towers(net):
        torch.testing.assert_close(tower.run(batch), expected[tower.modality], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_walk_sees_what_plain_hooks_see(name: str, net: Any) -> None:
    batches = [inputs(name, net, 3), inputs(name, net, 1)]
    for tower in FAMILY.towers(net):
        walked = {key: stat for _, _, stats in walk(tower, batches, Range) for key, stat in stats.items()}
        hooked = {key: Range() for key in tower.sites}
        hooks = [
            site.module.register_forward_pre_hook(lambda module, args, stat=hooked[key]: stat.see(args[0]))
            for key, site in tower.sites.items()
        ]
        for batch in batches:
            tower.run(batch)
        for hook in hooks:
            hook.remove()
        assert set(walked) == set(tower.sites)
        for key, stat in walked.items():
            assert isinstance(stat, Range)
            assert (stat.low, stat.high) == pytest.approx((hooked[key].low, hooked[key].high), rel=1e-4), key


@torch.no_grad()
def test_a_replaced_module_is_what_runs(name: str) -> None:
    net = tiny.network(name)
    batch = inputs(name, net, 1)
    for tower in FAMILY.towers(net):
        before = tower.run(batch)
        for site in tower.sites.values():
            if site.kind in ("linear", "embedding"):
                last = site
        changed = type(last.module).__new__(type(last.module))
        changed.__dict__ = {**last.module.__dict__}
        changed._parameters = {
            key: None if value is None else torch.nn.Parameter(value * 2, requires_grad=False)
            for key, value in last.module._parameters.items()
        }
        last.replace(changed)
        assert not torch.allclose(tower.run(batch), before), tower.name


@torch.no_grad()
def test_graphs_give_what_torch_gives(name: str, tmp_path: Path) -> None:
    net = tiny.network(name, layers=1)
    graphs = FAMILY.components(net)[: 1 if name == "clap_fused" else 2]
    for component in graphs:
        path = export_component(component, tmp_path)
        session = onnxruntime.InferenceSession(str(path))
        assert [output.name for output in session.get_outputs()] == list(component.outputs)
        for count, tokens in ((1, 4), (3, 11)):
            batch = inputs(name, net, count, tokens)
            expected = by_transformers(name, net, batch)["text" if component.name == "text_model" else _media(name)]
            feed = {key: batch[key].numpy() for key in component.inputs}
            for output in session.run(None, feed):
                assert output.shape == expected.shape
                np.testing.assert_allclose(output, expected.numpy(), atol=1e-4)


def _media(name: str) -> str:
    return "audio" if name.startswith("clap") else "image"


def test_names_are_those_of_transformers_js(name: str, net: Any) -> None:
    media, text = FAMILY.components(net)
    assert (media.name, text.name) == ("audio_model" if _media(name) == "audio" else "vision_model", "text_model")
    assert text.outputs[0] == "text_embeds"
    assert media.outputs[0] == f"{_media(name)}_embeds"
    assert (text.outputs[-1] == "pooler_output") == (name == "siglip")
    assert list(text.inputs) == (["input_ids"] if name == "siglip" else ["input_ids", "attention_mask"])
    assert ("is_longer" in media.inputs) == (name == "clap_fused")


def rows(name: str) -> list[Row]:
    """Two rows with a picture or a sound and a text."""
    found = []
    for index, text in enumerate(TEXTS):
        stream = io.BytesIO()
        if _media(name) == "image":
            draw(index)[0].resize((50 + 9 * index, 40)).save(stream, "PNG")
        else:
            noise = np.random.default_rng(index).normal(0, 0.1, 48000 * (2 + 10 * index)).astype(np.float32)
            soundfile.write(stream, noise, 48000, format="WAV", subtype="FLOAT")
        found.append(
            Row(f"row-{index}", {"text": text}, "image" if _media(name) == "image" else "audio", stream.getvalue())
        )
    return found


def test_settings_are_plain_json(name: str, net: Any, folder: Path) -> None:
    settings = FAMILY.settings(net, folder)
    assert json.loads(json.dumps(settings)) == settings
    assert set(settings) == {"image", "audio", "text", "logit_scale", "logit_bias", "embed_dim", "normalise"}
    other = "image" if _media(name) == "audio" else "audio"
    assert settings[other] is None
    assert settings[_media(name)] is not None
    assert settings["embed_dim"] == (32 if name == "siglip" else 16)
    scale = net.logit_scale_a if name.startswith("clap") else net.logit_scale
    assert settings["logit_scale"] == pytest.approx(math.exp(float(scale)))
    longest = {"clip": 24, "siglip": 16, "vision_text": 32}.get(name, 31)
    assert settings["text"] == {
        "inputs": ["input_ids"] if name == "siglip" else ["input_ids", "attention_mask"],
        "max_length": longest,
        "padding": "max_length" if name == "siglip" else "longest",
        "pad_id": 0,
        "pad_token": "[PAD]",
        "pad_side": "right",
        "lower": False,
    }


def test_settings_without_files_have_no_front_ends(name: str, net: Any, tmp_path: Path) -> None:
    for where in (None, tmp_path):
        settings = FAMILY.settings(net, where)
        assert settings["image"] is settings["audio"] is settings["text"] is None
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        next(FAMILY.batches(settings, tmp_path, rows(name)))


@torch.no_grad()
def test_batches_equal_transformers_front_ends(name: str, net: Any, folder: Path) -> None:
    settings = FAMILY.settings(net, folder)
    padding = "max_length" if name == "siglip" else True
    for row, batch in zip(rows(name), FAMILY.batches(settings, folder, rows(name)), strict=True):
        limit = settings["text"]["max_length"]
        words = tiny.tokenizer()([row.fields["text"]], padding=padding, max_length=limit, truncation=True)
        assert batch["input_ids"].tolist() == words["input_ids"]
        for tower in FAMILY.towers(net):
            assert tower.run(batch).shape == (1, settings["embed_dim"])
        if _media(name) == "image":
            from penjing.data.image import read_image

            assert isinstance(row.file, bytes)
            expected = tiny.front_end(name)(read_image(row.file), return_tensors="np")["pixel_values"]
            np.testing.assert_allclose(batch["pixel_values"].numpy(), expected, atol=1e-5)
        else:
            assert batch["input_features"].shape == (1, 4 if name == "clap_fused" else 1, 1001, 64)
            assert batch["is_longer"].shape == (1, 1)


@torch.no_grad()
def test_cosines_by_the_settings_are_the_models_logits(name: str, net: Any, folder: Path) -> None:
    settings = FAMILY.settings(net, folder)
    batch = next(FAMILY.batches(settings, folder, rows(name)))
    media, text, _ = (torch.nn.functional.normalize(tower.run(batch), dim=-1) for tower in FAMILY.towers(net))
    logits = settings["logit_scale"] * media @ text.T + settings["logit_bias"]
    known = {key: value for key, value in batch.items() if key != "attention_mask" or name != "siglip"}
    output = net(**known)
    expected = output.logits_per_audio if name.startswith("clap") else output.logits_per_image
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_probe_feeds_every_tower(name: str, net: Any) -> None:
    probe, again = FAMILY.probe(net, 3), FAMILY.probe(net, 3)
    for key, values in probe.items():
        torch.testing.assert_close(values, again[key])
    for tower in FAMILY.towers(net):
        assert torch.isfinite(tower.run(probe)).all()


def test_rows_that_lack_a_side_are_named(name: str, net: Any, folder: Path) -> None:
    settings = FAMILY.settings(net, folder)
    whole = rows(name)[0]
    mute = Row("mute", {}, whole.media, whole.file)
    bare = Row("bare", {"text": "a cat"})
    for row, words in ((mute, "'mute' has no text"), (bare, f"'bare' has no {_media(name)}")):
        with pytest.raises(DataError, match=words):
            next(FAMILY.batches(settings, folder, [row]))
    labelled = Row("labelled", {"label": "cat"}, whole.media, whole.file)
    assert next(FAMILY.batches(settings, folder, [labelled]))["input_ids"].shape[0] == 1
