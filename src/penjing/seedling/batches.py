"""Training batches: a function of the schedule and the step, so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from penjing.errors import DataError
from penjing.seedling.examples import Example, Examples, Look, Spoken
from penjing.seedling.schedule import Schedule, Stage
from penjing.seedling.speech import SpeechCache
from penjing.seedling.words import END, PAD

Part = TypeVar("Part")

TOKENS_ROUND, FRAMES_ROUND = 8, 128
"""Batches are padded to multiples of these: for every new length PyTorch compiles its kernels anew."""


@dataclass(frozen=True, slots=True)
class Written:
    """Texts for the decoder: what it reads (task, words) and what it should write (words, end); -100 where nothing."""

    input_ids: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Padded:
    """Inputs of one length and where they hold something."""

    values: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Looks:
    """Pictures, and what their squares show: word pieces of it, (batch, squares, words); see `things_shown`."""

    pixel_values: Tensor
    things: Tensor


@dataclass(frozen=True, slots=True)
class Texts:
    """Captions of the pictures, and typed questions about them; `question_of` says about which."""

    captions: Padded
    caption_words: Written
    caption_group: Tensor
    """equal numbers for scenes with equal captions: they are no negatives of each other"""
    questions: Padded
    question_of: Tensor
    answers: Written


@dataclass(frozen=True, slots=True)
class Sounds:
    """Captions and questions read aloud, and their words. `*_of` say which scene each is about."""

    told: Padded
    told_of: Tensor
    told_words: Written
    asked: Padded
    asked_of: Tensor
    asked_words: Written
    answers: Written


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one step learns from: all three, or what its stage teaches."""

    looks: Looks | None
    texts: Texts | None
    sounds: Sounds | None


class Batches(Dataset[TrainingBatch]):
    """Item `step` is the batch of that step; with several processes each builds its own share of the scenes."""

    def __init__(
        self, cache: SpeechCache, tokenizer: Tokenizer, schedule: Schedule, rank: int = 0, world: int = 1
    ) -> None:
        self._tokenizer, self._schedule, self._rank, self._world = tokenizer, schedule, rank, world
        self.examples = Examples(cache, schedule.seed)

    def __len__(self) -> int:
        return self._schedule.steps

    def __getitem__(self, step: int) -> TrainingBatch:
        size = self._schedule.batch_size
        share = size // self._world
        mine = [step * size + index for index in range(self._rank * share, (self._rank + 1) * share)]
        return self._taught(self._schedule.stage(step), mine)

    def _taught(self, stage: Stage, numbers: Sequence[int]) -> TrainingBatch:
        tokenizer, examples = self._tokenizer, self.examples
        if stage == "look":
            return TrainingBatch(_looks([examples.look(number) for number in numbers], tokenizer), None, None)
        if stage == "read":
            told = [examples.written(number) for number in numbers]
            return TrainingBatch(_looks([one.look for one in told], tokenizer), _texts(told, tokenizer), None)
        spoken = [examples.example(number) for number in numbers]
        if stage == "listen":
            return TrainingBatch(None, None, _sounds(spoken, tokenizer))
        looks = _looks([one.look for one in spoken], tokenizer)
        return TrainingBatch(looks, _texts(spoken, tokenizer), _sounds(spoken, tokenizer))


def moved(batch: Part, device: torch.device) -> Part:
    """A batch with every tensor on a device."""
    if batch is None:
        return batch
    if isinstance(batch, Tensor):
        return cast(Part, batch.to(device))
    parts: dict[str, Any] = {name: moved(getattr(batch, name), device) for name in batch.__slots__}  # type: ignore[attr-defined]
    return type(batch)(**parts)


def _looks(looks: Sequence[Look], tokenizer: Tokenizer) -> Looks:
    pixels = torch.from_numpy(np.stack([look.pixels for look in looks]))
    return Looks(pixels, _names(tokenizer, [look.things for look in looks]))


def _texts(examples: Sequence[Example], tokenizer: Tokenizer) -> Texts:
    texts = [example.caption for example in examples]
    typed = [(place, one) for place, example in enumerate(examples) for one in example.typed]
    return Texts(
        captions=_padded_texts(tokenizer, texts),
        caption_words=_written(tokenizer, "caption", texts),
        caption_group=torch.tensor([zlib.crc32(text.encode()) for text in texts]),
        questions=_padded_texts(tokenizer, [one.text for _, one in typed]),
        question_of=torch.tensor([place for place, _ in typed]),
        answers=_written(tokenizer, "answer", [one.answer for _, one in typed]),
    )


def _sounds(examples: Sequence[Example], tokenizer: Tokenizer) -> Sounds:
    told = [(place, one.spoken_caption) for place, one in enumerate(examples) if one.spoken_caption]
    asked = [(place, one.spoken_question) for place, one in enumerate(examples) if one.spoken_question]
    return Sounds(
        told=_padded_sounds([one for _, one in told]),
        told_of=torch.tensor([place for place, _ in told]),
        told_words=_written(tokenizer, "transcribe", [one.text for _, one in told]),
        asked=_padded_sounds([one for _, one in asked]),
        asked_of=torch.tensor([place for place, _ in asked]),
        asked_words=_written(tokenizer, "transcribe", [one.text for _, one in asked]),
        answers=_written(tokenizer, "answer", [examples[place].spoken_answer for place, _ in asked]),
    )


def _names(tokenizer: Tokenizer, things: Sequence[Sequence[Sequence[str]]]) -> Tensor:
    """Word pieces of names, which are one piece each."""
    words = {word for shown in things for names in shown for word in names}
    pieces = {word: tokenizer.encode(word).ids for word in words}
    assert all(len(ids) == 1 for ids in pieces.values())
    return torch.tensor([[[pieces[word][0] for word in names] for names in shown] for shown in things])


def _padded_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> Padded:
    ids = [encoded.ids for encoded in tokenizer.encode_batch(list(texts))]
    values = torch.full((len(ids), _rounded(max(map(len, ids)), TOKENS_ROUND)), _token(tokenizer, PAD))
    mask = torch.zeros(values.shape, dtype=torch.bool)
    for row, tokens in enumerate(ids):
        values[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = True
    return Padded(values, mask)


def _written(tokenizer: Tokenizer, task: str, texts: Sequence[str]) -> Written:
    padded = _padded_texts(tokenizer, texts)
    start = torch.full((len(texts), 1), _token(tokenizer, f"<|{task}|>"))
    labels = torch.cat([padded.values.masked_fill(~padded.mask, -100), torch.full((len(texts), 1), -100)], 1)
    labels[torch.arange(len(texts)), padded.mask.sum(1)] = _token(tokenizer, END)
    return Written(torch.cat([start, padded.values], 1), labels)


def _token(tokenizer: Tokenizer, special: str) -> int:
    found = tokenizer.token_to_id(special)
    assert found is not None
    return found


def _padded_sounds(sounds: Sequence[Spoken]) -> Padded:
    if not sounds:
        raise DataError("a batch without any speech", hint="take larger batches, or speak more sentences")
    longest = _rounded(max(sound.features.shape[1] for sound in sounds), FRAMES_ROUND)
    values = torch.zeros(len(sounds), sounds[0].features.shape[0], longest)
    mask = torch.zeros(len(sounds), longest, dtype=torch.bool)
    for row, sound in enumerate(sounds):
        frames = sound.features.shape[1]
        values[row, :, :frames] = torch.from_numpy(sound.features)
        mask[row, :frames] = True
    return Padded(values, mask)


def _rounded(length: int, step: int) -> int:
    """The next multiple."""
    return -(-length // step) * step
