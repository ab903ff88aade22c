"""Batches follow from seed and step; nothing held out is in them; two processes see what one would."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from penjing.scenes.captions import NUMBERS, false_claims
from penjing.scenes.holdout import held_out
from penjing.scenes.relations import alike, thirds
from penjing.scenes.scene import imagine, shifted
from penjing.seedling.batches import Batches, Padded, Written, moved
from penjing.seedling.examples import FIRST_FRESH_SEED, things_shown
from tiny_seedling import processor, small_batches, small_schedule


def tensors(batch) -> dict[str, torch.Tensor]:
    """Every tensor of a batch by name."""
    if isinstance(batch, torch.Tensor):
        return {"": batch}
    if batch is None:
        return {}
    parts = {field.name: tensors(getattr(batch, field.name)) for field in dataclasses.fields(batch)}
    return {f"{name}.{below}": value for name, found in parts.items() for below, value in found.items()}


def decoded(ids: torch.Tensor) -> list[str]:
    return [processor().decode(row[row >= 0]) for row in ids]


@pytest.fixture(scope="module")
def batches(speech) -> Batches:
    return small_batches(speech, small_schedule(4))


def test_the_same_step_is_the_same_batch(speech, batches):
    again = tensors(small_batches(speech, small_schedule(4))[2])
    for name, value in tensors(batches[2]).items():
        assert torch.equal(value, again[name]), name
    assert not torch.equal(batches[1].looks.pixel_values, batches[2].looks.pixel_values)


def test_two_processes_see_what_one_sees(speech, batches):
    whole = batches[1]
    first, second = (small_batches(speech, small_schedule(4), rank, 2)[1] for rank in range(2))
    assert torch.equal(torch.cat([first.looks.pixel_values, second.looks.pixel_values]), whole.looks.pixel_values)
    assert torch.equal(torch.cat([first.texts.caption_group, second.texts.caption_group]), whole.texts.caption_group)
    assert decoded(first.texts.answers.labels) + decoded(second.texts.answers.labels) == decoded(
        whole.texts.answers.labels
    )


def test_shapes_and_owners(batches):
    batch = batches[0]
    count = batch.looks.pixel_values.shape[0]
    assert batch.looks.pixel_values.shape == (8, 3, 64, 64)
    assert batch.sounds.told_of.tolist() == [0, 2, 4, 6]
    assert batch.texts.questions.values.shape[0] == len(batch.texts.question_of) == 3 * count
    assert batch.sounds.told.values.shape[2] % 8 == 0
    assert batch.sounds.told.mask.shape == batch.sounds.told.values[:, 0].shape
    assert decoded(batch.texts.captions.values) == decoded(batch.texts.caption_words.labels)
    told = decoded(batch.sounds.told_words.labels)
    assert told == [decoded(batch.texts.captions.values)[place] for place in batch.sounds.told_of]


def test_what_is_to_be_written_is_what_is_read_one_step_later(batches):
    written = batches[0].texts.caption_words
    assert isinstance(written, Written)
    ends = (written.labels >= 0).sum(1) - 1
    for row, end in enumerate(ends.tolist()):
        assert torch.equal(written.input_ids[row, 1 : end + 1], written.labels[row, :end])
        assert written.labels[row, end] == processor().tokenizer.eos_token_id


def test_nothing_held_out_is_in_a_batch(batches):
    for step in range(4):
        batch = batches[step]
        for texts in (batch.texts.captions.values, batch.sounds.asked_words.labels, batch.sounds.told_words.labels):
            assert not [text for text in decoded(texts) if held_out(text)]


def test_captions_stay_true_of_moved_scenes(speech, batches):
    examples = [batches.examples.example(number) for number in range(0, 40, 2)]
    scenes = {one.text: imagine(one.seed) for one in speech.utterances if one.kind == "caption"}
    assert all(false_claims(one.caption, scenes[one.caption]) == [] for one in examples)
    assert len({one.look.pixels.tobytes() for one in examples}) == len(examples), "every turn shows another picture"


def test_fresh_scenes_are_never_those_of_the_built_in_set():
    assert FIRST_FRESH_SEED + 500_000_000 < 2_000_000_000
    assert shifted(imagine(1), 5).seed == 5


def test_moving_a_batch_keeps_it(batches):
    there, here = moved(batches[0], torch.device("cpu")), batches[0]
    assert type(there.sounds.told) is Padded
    for name, value in tensors(here).items():
        assert torch.equal(tensors(there)[name], value), name


def test_every_stage_has_batches_of_its_own(speech):
    batches = small_batches(speech, small_schedule(8, look=2, read=2, listen=2))
    parts = [[part for part in ("looks", "texts", "sounds") if getattr(batches[step], part)] for step in range(8)]
    wanted = [["looks"], ["looks", "texts"], ["sounds"], ["looks", "texts", "sounds"]]
    assert parts == [one for one in wanted for _ in range(2)]


def test_what_is_only_read_is_not_spoken_and_not_held_out(batches):
    one = batches.examples.written(7)
    assert one.spoken_caption is None
    assert one.spoken_question is None
    assert one.typed
    assert not [text for text in (one.caption, *(asked.text for asked in one.typed)) if held_out(text)]


def test_things_shown_are_where_they_are():
    scene = imagine(3)
    shown = things_shown(scene)
    assert len(shown) == 64
    for item in scene.items:
        count = NUMBERS[len(alike(scene.items, item.colour, item.shape))]
        assert (item.size, item.colour, item.shape, count, *thirds(item)) in shown
        place = int(item.y // 8) * 8 + int(item.x // 8)
        assert shown[place] != (scene.background,) * 6
    assert (scene.background,) * 6 in shown
