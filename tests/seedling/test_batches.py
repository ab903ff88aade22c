"""Batches follow from seed and step; nothing held out is in them; two processes see what one would."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from penjing.scenes.captions import false_claims
from penjing.scenes.holdout import held_out
from penjing.scenes.scene import imagine, shifted
from penjing.seedling.batches import FIRST_FRESH_SEED, Batches, Padded, Written
from tiny_seedling import processor, small_batches


def tensors(batch) -> dict[str, torch.Tensor]:
    """Every tensor of a batch by name."""
    found = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        parts = {"": value} if isinstance(value, torch.Tensor) else {n: getattr(value, n) for n in value.__slots__}
        found |= {f"{field.name}.{name}": part for name, part in parts.items()}
    return found


def decoded(ids: torch.Tensor) -> list[str]:
    return [processor().decode(row[row >= 0]) for row in ids]


@pytest.fixture(scope="module")
def batches(speech) -> Batches:
    return small_batches(speech, 4)


def test_the_same_step_is_the_same_batch(speech, batches):
    again = tensors(small_batches(speech, 4)[2])
    for name, value in tensors(batches[2]).items():
        assert torch.equal(value, again[name]), name
    assert not torch.equal(batches[1].pixel_values, batches[2].pixel_values)


def test_two_processes_see_what_one_sees(speech, batches):
    whole = batches[1]
    first, second = (small_batches(speech, 4, rank=rank, world=2)[1] for rank in range(2))
    assert torch.equal(torch.cat([first.pixel_values, second.pixel_values]), whole.pixel_values)
    assert torch.equal(torch.cat([first.caption_group, second.caption_group]), whole.caption_group)
    assert decoded(first.answers.labels) + decoded(second.answers.labels) == decoded(whole.answers.labels)


def test_shapes_and_owners(batches):
    batch = batches[0]
    count = batch.pixel_values.shape[0]
    assert batch.pixel_values.shape == (8, 3, 64, 64)
    assert batch.spoken_caption_of.tolist() == [0, 2, 4, 6]
    assert batch.questions.values.shape[0] == len(batch.question_of) == 3 * count
    assert batch.spoken_captions.values.shape[2] % 8 == 0
    assert batch.spoken_captions.mask.shape == batch.spoken_captions.values[:, 0].shape
    assert decoded(batch.captions.values) == decoded(batch.caption_words.labels)
    told = decoded(batch.spoken_caption_words.labels)
    assert told == [decoded(batch.captions.values)[place] for place in batch.spoken_caption_of]


def test_what_is_to_be_written_is_what_is_read_one_step_later(batches):
    written = batches[0].caption_words
    assert isinstance(written, Written)
    ends = (written.labels >= 0).sum(1) - 1
    for row, end in enumerate(ends.tolist()):
        assert torch.equal(written.input_ids[row, 1 : end + 1], written.labels[row, :end])
        assert written.labels[row, end] == processor().tokenizer.eos_token_id


def test_nothing_held_out_is_in_a_batch(batches):
    for step in range(4):
        batch = batches[step]
        for texts in (batch.captions.values, batch.spoken_question_words.labels, batch.spoken_caption_words.labels):
            assert not [text for text in decoded(texts) if held_out(text)]


def test_captions_stay_true_of_moved_scenes(speech, batches):
    examples = [batches.example(number) for number in range(0, 40, 2)]
    scenes = {one.text: imagine(one.seed) for one in speech.utterances if one.kind == "caption"}
    assert all(false_claims(one.caption, scenes[one.caption]) == [] for one in examples)
    assert len({one.pixels.tobytes() for one in examples}) == len(examples), "every turn shows another picture"


def test_fresh_scenes_are_never_those_of_the_built_in_set():
    assert FIRST_FRESH_SEED + 500_000_000 < 2_000_000_000
    assert shifted(imagine(1), 5).seed == 5


def test_moving_a_batch_keeps_it(batches):
    moved = batches[0].to(torch.device("cpu"))
    assert isinstance(moved.captions, Padded)
    assert torch.equal(moved.captions.values, batches[0].captions.values)
