"""Every parameter and every site of every architecture has exactly one owner, and the towers are the right ones."""

from __future__ import annotations

import pytest
import torch

from penjing.models.roles import input_tables, unique
from penjing.models.shares import divide
from penjing.models.tower import find_places
from penjing.models.trunks import count_parameters
from tiny_models import TINY

TEXT = ("text", "encoder", "text")
IMAGE = ("image", "encoder", "image")
AUDIO = ("audio", "encoder", "audio")
DECODER = ("decoder", "decoder", "text")
CONNECTOR = ("connector", "connector", "mixed")
EMBEDDING = ("embedding", "embedding", "text")
HEAD = ("head", "head", "text")
TEXT_SEQ2SEQ = [("encoder", "encoder", "text"), DECODER, EMBEDDING]
SPEECH_SEQ2SEQ = [("encoder", "encoder", "audio"), DECODER, EMBEDDING]
KNOWN = {
    "clip": [TEXT, IMAGE, CONNECTOR, EMBEDDING],
    "siglip": [TEXT, IMAGE, CONNECTOR, EMBEDDING],
    "clap": [TEXT, AUDIO, CONNECTOR, EMBEDDING],
    "vision_text": [IMAGE, TEXT, CONNECTOR, EMBEDDING],
    "whisper": SPEECH_SEQ2SEQ,
    "encodec": [AUDIO],
    "speech_to_text": SPEECH_SEQ2SEQ,
    "moonshine": SPEECH_SEQ2SEQ,
    "wav2vec2_ctc": [AUDIO, ("head", "head", "audio")],
    "hubert_ctc": [AUDIO, ("head", "head", "audio")],
    "ast": [AUDIO, ("head", "head", "audio")],
    "llava": [IMAGE, DECODER, CONNECTOR, HEAD, EMBEDDING],
    "paligemma": [IMAGE, DECODER, CONNECTOR, EMBEDDING],
    "smolvlm": [IMAGE, DECODER, CONNECTOR, HEAD, EMBEDDING],
    "qwen2_vl": [IMAGE, DECODER, HEAD, EMBEDDING],
    "blip": [IMAGE, DECODER, EMBEDDING],
    "vision_encoder_decoder": [("encoder", "encoder", "image"), DECODER, EMBEDDING],
    "llama": [DECODER, HEAD, EMBEDDING],
    "llama_grouped": [DECODER, HEAD, EMBEDDING],
    "llama_tied": [DECODER, EMBEDDING],
    "qwen2": [DECODER, EMBEDDING],
    "gpt2": [DECODER, EMBEDDING],
    "opt": [DECODER, EMBEDDING],
    "t5": TEXT_SEQ2SEQ,
    "t5_untied": [("encoder", "encoder", "text"), DECODER, HEAD, EMBEDDING],
    "bart": TEXT_SEQ2SEQ,
    "minilm": [TEXT, EMBEDDING],
    "roberta_bare": [TEXT, EMBEDDING],
    "distilbert_bare": [TEXT, EMBEDDING],
    "mpnet": [TEXT, EMBEDDING],
    "bert_masked": [TEXT, HEAD, EMBEDDING],
    "bert": [TEXT, HEAD, EMBEDDING],
    "roberta": [TEXT, HEAD, EMBEDDING],
    "distilbert": [TEXT, HEAD, EMBEDDING],
    "vit": [IMAGE, ("head", "head", "image")],
    "resnet": [IMAGE, ("head", "head", "image")],
    "efficientnet": [IMAGE, ("head", "head", "image")],
    "swin": [IMAGE, ("head", "head", "image")],
    "convnext": [IMAGE, ("head", "head", "image")],
}


def test_the_table_knows_every_tiny_model():
    assert set(KNOWN) == set(TINY) - {"seedling"}, "tests/models/test_seedling.py knows what its family finds"


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_towers_roles_and_modalities(opened, name):
    found = [(tower.name, tower.role, tower.modality) for tower in divide(opened(name).net)]
    assert found == KNOWN[name]


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_parameter_has_one_owner(opened, name):
    model = opened(name)
    for towers in (model.towers, divide(model.net)):
        owned = [parameter for tower in towers for parameter in tower.parameter_names]
        assert sorted(owned) == sorted(parameter for parameter, _ in model.net.named_parameters())
        counts = {parameter: tensor.numel() for parameter, tensor in model.net.named_parameters()}
        assert sum(counts[parameter] for parameter in owned) == count_parameters(model.net)


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_place_is_in_one_site(opened, name):
    model = opened(name)
    for towers in (model.towers, divide(model.net)):
        places = [place.name for tower in towers for site in tower.sites.values() for place in (site, *site.tied)]
        assert sorted(places) == sorted(place.name for place in find_places(model.net))


@pytest.mark.parametrize("name", sorted(TINY))
def test_names_are_unique_and_keys_are_names(opened, name):
    towers = opened(name).towers
    assert len({tower.name for tower in towers}) == len(towers)
    for tower in towers:
        assert all(key == site.name for key, site in tower.sites.items())


@pytest.mark.parametrize("name", sorted(TINY))
def test_only_trunks_have_blocks(opened, name):
    for tower in divide(opened(name).net):
        assert bool(tower.blocks) == (tower.role in ("encoder", "decoder"))


@pytest.mark.parametrize("name", sorted(TINY))
def test_sites_of_a_trunk_own_their_parameters(opened, name):
    for tower in divide(opened(name).net):
        for site in tower.sites.values():
            if "weight" in site.module._parameters:
                assert f"{site.name}.weight" in tower.parameter_names


@pytest.mark.parametrize("name", ["whisper", "t5", "bart", "gpt2", "llama_tied", "paligemma", "blip"])
def test_a_tied_head_is_a_site_of_the_embedding(opened, name):
    towers = {tower.name: tower for tower in divide(opened(name).net)}
    (table,) = towers["embedding"].sites.values()
    assert table.kind == "embedding"
    assert "linear" in {place.kind for place in table.tied}
    assert "head" not in towers


@pytest.mark.parametrize(
    ("name", "tower", "tables"),
    [
        ("bert", "text", ["bert.embeddings.position_embeddings", "bert.embeddings.token_type_embeddings"]),
        ("gpt2", "decoder", ["transformer.wpe"]),
        ("clip", "image", ["vision_model.embeddings.position_embedding"]),
        ("t5", "encoder", ["encoder.block.0.layer.0.SelfAttention.relative_attention_bias"]),
        ("opt", "decoder", ["model.decoder.embed_positions"]),
        ("llama", "decoder", []),
    ],
)
def test_other_tables_are_positions(opened, name, tower, tables):
    (found,) = [part for part in divide(opened(name).net) if part.name == tower]
    assert [site.name for site in found.sites.values() if site.kind == "position"] == tables


def test_gpt2_has_linear_sites(opened):
    decoder = divide(opened("gpt2").net)[0]
    kinds = {site.kind for site in decoder.sites.values()}
    assert kinds == {"linear", "position"}
    assert decoder.sites["transformer.h.0.attn.c_attn"].weight.shape == (96, 32)


def test_input_tables_come_once_per_weight(opened):
    assert len(input_tables(opened("bart").net)) == 1
    assert input_tables(opened("vit").net) == []


def test_bare_parameters_go_to_the_connector(opened):
    towers = {tower.name: tower for tower in divide(opened("siglip").net)}
    assert towers["connector"].parameter_names == {"logit_scale", "logit_bias"}


def test_two_tables_are_named_by_their_trunks(tmp_path):
    import transformers

    from tiny_models import TEXT as SIZES

    torch.manual_seed(0)
    half = transformers.BertConfig(**SIZES)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(half, transformers.BertConfig(**SIZES))
    names = [tower.name for tower in divide(transformers.EncoderDecoderModel(config))]
    assert names == ["encoder", "decoder", "encoder_embedding", "decoder_embedding"]


def test_names_that_come_twice_are_numbered():
    assert unique(["image", "text", "image"]) == ["image", "text", "image_2"]
