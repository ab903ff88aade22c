"""The model: shapes, saving, the cache, padding, and modalities that are not there."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

import penjing.seedling
from penjing.errors import DataError
from penjing.seedling.attention import attend
from penjing.seedling.model import SeedlingModel
from penjing.seedling.towers import sinusoids
from tiny_seedling import processor, small_model

PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SOUNDS = torch.randn(2, 80, 160, generator=torch.Generator().manual_seed(1))
WORDS = torch.randint(5, 400, (2, 7), generator=torch.Generator().manual_seed(2))
TASKS = {
    "caption": {"pixel_values": PIXELS},
    "answer": {"pixel_values": PIXELS, "input_ids": WORDS},
    "transcribe": {"input_features": SOUNDS},
}


@pytest.fixture(scope="module")
def model() -> SeedlingModel:
    found = small_model()
    with torch.no_grad():  # random weights repeat one word; these change with what is seen and written
        for layer in found.decoder.layers:
            layer.cross.out_proj.weight.mul_(10)
        found.decoder.positions.normal_(std=2, generator=torch.Generator().manual_seed(4))
    return found


def test_shapes(model):
    found = model(pixel_values=PIXELS, input_ids=WORDS, input_features=SOUNDS, decoder_input_ids=WORDS[:, :4])
    assert found.logits.shape == (2, 4, model.config.vocab_size)
    for embeds in (found.image_embeds, found.text_embeds, found.audio_embeds):
        assert embeds.shape == (2, model.config.embedding_size)
        assert torch.allclose(embeds.norm(dim=1), torch.ones(2))
    assert model.image.look(PIXELS).shape == (2, 64, 32)
    assert model.see(PIXELS).tokens.shape == (2, 16, 32)
    assert model.hear(SOUNDS).tokens.shape == (2, 20, 32)


def test_the_loss_counts_what_is_labelled(model):
    labels = WORDS[:, :4].clone()
    labels[0] = -100
    both = model(pixel_values=PIXELS, decoder_input_ids=WORDS[:, :4], labels=labels)
    alone = model(pixel_values=PIXELS[1:], decoder_input_ids=WORDS[1:, :4], labels=labels[1:])
    assert both.loss.item() == pytest.approx(alone.loss.item(), rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_with_and_without_the_cache_the_same_is_written(task, model):
    cached = model.generate(task, max_new_tokens=12, **TASKS[task])
    plain = model.generate(task, max_new_tokens=12, use_cache=False, **TASKS[task])
    assert torch.equal(cached, plain)
    assert len(set(cached[0].tolist())) > 1, "a constant answer would prove nothing"


def test_padding_changes_nothing(model):
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    heard = torch.ones(2, 160, dtype=torch.bool)
    heard[1, 96:] = False
    sounds = SOUNDS * heard[:, None, :]
    both = model(PIXELS, WORDS, mask, sounds, heard, WORDS[:, :5])
    alone = model(PIXELS[1:], WORDS[1:, :4], None, SOUNDS[1:, :, :96], None, WORDS[1:, :5])
    for name in ("text_embeds", "audio_embeds", "logits"):
        assert torch.allclose(both[name][1:], alone[name], atol=1e-4), name


@pytest.mark.parametrize(
    "given", [("pixel_values",), ("input_ids",), ("input_features",), ("pixel_values", "input_ids")]
)
def test_any_modalities_will_do(given, model):
    inputs = {"pixel_values": PIXELS, "input_ids": WORDS, "input_features": SOUNDS}
    found = model(**{name: inputs[name] for name in given}, decoder_input_ids=WORDS[:, :3])
    assert torch.isfinite(found.logits).all()
    assert (found.image_embeds is None) == ("pixel_values" not in given)
    assert (found.audio_embeds is None) == ("input_features" not in given)


def test_no_modality_is_an_error(model):
    with pytest.raises(DataError, match="nothing to write about"):
        model(decoder_input_ids=WORDS)
    with pytest.raises(DataError, match="nothing to write about"):
        model.generate("caption")


def test_saved_and_opened_by_the_auto_classes(seedling_folder):
    source, found = small_model(), AutoModel.from_pretrained(seedling_folder).eval()
    assert type(found) is penjing.seedling.SeedlingModel
    assert AutoConfig.from_pretrained(seedling_folder).hidden_size == 32
    assert found.decoder.head.weight is found.decoder.embed_tokens.weight
    assert torch.equal(found.audio.positions, sinusoids(*found.audio.positions.shape))
    inputs = {"pixel_values": PIXELS, "input_ids": WORDS, "input_features": SOUNDS, "decoder_input_ids": WORDS}
    for name, value in source(**inputs).items():
        assert torch.equal(found(**inputs)[name], value), name
    opened = AutoProcessor.from_pretrained(seedling_folder)
    assert type(opened) is penjing.seedling.SeedlingProcessor
    assert opened.tokenizer("two red stars").input_ids == processor().tokenizer("two red stars").input_ids


def test_attention_is_what_the_textbook_says():
    query, key, value = torch.randn(3, 1, 2, 5, 8, generator=torch.Generator().manual_seed(3)).unbind()
    mask = torch.tensor([[True, True, False, True, False]])
    found = attend(query, key, value, mask)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    assert torch.allclose(found, wanted, atol=1e-6)
