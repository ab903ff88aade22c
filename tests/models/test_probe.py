"""Synthetic inputs: every architecture runs on them, they are seeded, and they have the sizes the config asks for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from penjing.errors import ModelError
from penjing.models.audio_inputs import audio_inputs
from penjing.models.capture import call
from penjing.models.image_inputs import image_inputs, image_size
from penjing.models.inputs import probe_inputs
from penjing.models.outputs import flat_output
from penjing.models.sizes import nested, seek
from tiny_models import TINY, VOCAB

SHAPES = {
    "clip": {"input_ids": (1, 24), "attention_mask": (1, 24), "pixel_values": (1, 3, 32, 32)},
    "clap": {"input_features": (1, 1, 1001, 64), "is_longer": (1, 1)},
    "whisper": {"input_features": (1, 16, 3000), "decoder_input_ids": (1, 8)},
    "speech_to_text": {"input_features": (1, 200, 16), "decoder_input_ids": (1, 8)},
    "moonshine": {"input_values": (1, 16000), "decoder_input_ids": (1, 8)},
    "wav2vec2_ctc": {"input_values": (1, 16000)},
    "ast": {"input_values": (1, 64, 16)},
    "llava": {"input_ids": (1, 24 + 16), "pixel_values": (1, 3, 32, 32)},
    "paligemma": {"input_ids": (1, 24 + 16)},
    "smolvlm": {"input_ids": (1, 24 + 4), "pixel_values": (1, 1, 3, 32, 32), "pixel_attention_mask": (1, 1, 32, 32)},
    "qwen2_vl": {"input_ids": (1, 24 + 4), "pixel_values": (16, 384), "image_grid_thw": (1, 3)},
    "vision_encoder_decoder": {"pixel_values": (1, 3, 32, 32), "decoder_input_ids": (1, 8)},
    "t5": {"input_ids": (1, 24), "decoder_input_ids": (1, 8)},
    "gpt2": {"input_ids": (1, 24), "attention_mask": (1, 24)},
    "resnet": {"pixel_values": (1, 3, 224, 224)},
}


def count_hooks(net: nn.Module) -> int:
    """Count hooks; transformers itself leaves some on a model whose hidden states were asked for once."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_architecture_runs_the_same_twice(opened, name):
    net = opened(name).net
    first, second, other = probe_inputs(net, 0), probe_inputs(net, 0), probe_inputs(net, 1)
    assert first.keys() == second.keys() == other.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    with torch.no_grad():
        outputs = [flat_output(call(net, inputs)) for inputs in (first, second)]
    assert outputs[0].numel() > 0
    assert torch.isfinite(outputs[0]).all()
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_tower_answers_to_its_familys_probe(opened, name):
    model = opened(name)
    probe = model.family.probe(model.net, 0)
    with torch.no_grad():
        for tower in model.towers:
            assert flat_output(tower.run(probe)).numel() > 0, tower.name
        hooks = count_hooks(model.net)
        for tower in model.towers:
            tower.run(probe)
    assert count_hooks(model.net) == hooks


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_inputs_have_the_right_sizes(opened, name):
    inputs = probe_inputs(opened(name).net, 0)
    assert {key: tuple(inputs[key].shape) for key in SHAPES[name]} == SHAPES[name]


@pytest.mark.parametrize("name", ["llava", "paligemma", "smolvlm", "qwen2_vl"])
def test_one_placeholder_for_every_image_feature(opened, name):
    inputs = probe_inputs(opened(name).net, 0)
    placeholders = (inputs["input_ids"] == VOCAB - 1).sum().item()
    assert placeholders == inputs["input_ids"].shape[1] - 24
    assert inputs["attention_mask"].shape == inputs["input_ids"].shape


def test_ordinary_tokens_only_but_for_the_last(opened):
    ids = probe_inputs(opened("llama").net, 3)["input_ids"][0]
    assert ids[-1] == 2
    assert ids[:-1].min() > 2


def test_texts_fit_the_positions(tmp_path):
    import transformers

    from tiny_models import TEXT

    net = transformers.BertModel(transformers.BertConfig(**{**TEXT, "max_position_embeddings": 10})).eval()
    assert probe_inputs(net, 0)["input_ids"].shape == (1, 8)


def test_a_network_that_runs_on_nothing_says_why():
    class Stubborn(nn.Module):
        config = SimpleNamespace(image_size=8, vocab_size=5, eos_token_id=None)
        main_input_name = "input_ids"

        def forward(self, input_ids, pixel_values):
            raise ValueError("not today\nnor tomorrow")

    with pytest.raises(ModelError, match=r"synthetic inputs made for it \(not today\)") as caught:
        probe_inputs(Stubborn(), 0)
    assert "data" in caught.value.hint


@pytest.mark.parametrize(
    ("size", "expected"),
    [(32, (32, 32)), ([48, 32], (48, 32)), ({"height": 8, "width": 16}, (8, 16)), (None, (224, 224))],
)
def test_image_sizes_come_in_several_shapes(size, expected):
    assert image_size(SimpleNamespace(image_size=size)) == expected


def test_videos_and_flat_patches():
    source = torch.Generator()
    video = image_inputs(SimpleNamespace(image_size=8, num_frames=4), ["pixel_values"], source)
    assert video[0]["pixel_values"].shape == (1, 4, 3, 8, 8)
    (flat,) = image_inputs(SimpleNamespace(patch_size=2), ["pixel_values", "spatial_shapes"], source)
    assert flat["pixel_values"].shape == (1, 16, 12)
    assert image_inputs(SimpleNamespace(), ["input_ids"], source) == []


def test_audio_layouts():
    source = torch.Generator()
    spoken = SimpleNamespace(num_mel_bins=8, speaker_embedding_dim=5)
    (found,) = audio_inputs(spoken, ["input_ids", "decoder_input_values"], source)
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "decoder_input_values": (1, 16, 8),
        "speaker_embeddings": (1, 5),
    }
    rows = audio_inputs(SimpleNamespace(feature_projection_input_dim=8), ["input_features"], source)
    assert [tuple(found["input_features"].shape) for found in rows] == [(1, 200, 8), (1, 8, 200)]
    masked = audio_inputs(SimpleNamespace(input_dim=8), ["input_features", "input_features_mask"], source)
    assert masked[0]["input_features_mask"].shape == (1, 200)
    assert audio_inputs(SimpleNamespace(), ["pixel_values"], source) == []


def test_sizes_are_looked_up_from_the_outside_in():
    vision, text = SimpleNamespace(hidden_size=3, depth=7), SimpleNamespace(hidden_size=4)
    config = SimpleNamespace(
        sub_configs={"vision_config": None, "text_config": None, "gone_config": None},
        vision_config=vision,
        text_config=text,
        gone_config=None,
        hidden_size=None,
    )
    assert list(nested(config)) == [config, vision, text]
    assert seek(config, "hidden_size") == 3
    assert seek(config, "hidden_size", prefer="text") == 4
    assert seek(config, "no_such", "depth") == 7
    assert seek(config, "no_such") is None
