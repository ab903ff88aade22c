"""Training batches: a function of seed and step, so that a resumed run sees what an unbroken one would have seen.

Half of the items are scenes whose caption somebody reads aloud, drawn anew at every turn with everything moved a
little; the others are scenes never drawn before. Every item has questions, typed, and where the cache holds one that
fits, a spoken one.
"""

from __future__ import annotations

import itertools
import math
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from penjing.data.image import ImageFrontEnd
from penjing.data.normal_mel import NormalMel
from penjing.data.pictures import SIDE_PIXELS, pick
from penjing.errors import DataError
from penjing.scenes.captions import caption, false_claims
from penjing.scenes.holdout import held_out
from penjing.scenes.questions import Question, questions, reworded
from penjing.scenes.scene import Scene, draw, imagine, shifted
from penjing.seedling.front_end import AUDIO_SETTINGS, IMAGE_SETTINGS
from penjing.seedling.speech import LONGEST_S, RATE_HZ, SpeechCache, augmented
from penjing.seedling.words import END, PAD
from penjing.values import FloatArray

FIRST_FRESH_SEED = 1_000_000_000
"""Seeds of scenes drawn once only; those of the spoken ones lie below, those of the built-in set above twice it."""
TYPED_QUESTIONS = 3
STRIDE = 8
"""Pixels between tokens of a picture."""
SHIFT_PIXELS = 8.0
MOST_SILENCE_S = 0.4


@dataclass(frozen=True, slots=True)
class Spoken:
    """Log-mel features (mels, frames) and the words."""

    features: FloatArray
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One scene with all that is said and asked about it."""

    pixels: FloatArray
    things: tuple[tuple[str, ...], ...]
    caption: str
    typed: tuple[Question, ...]
    spoken_caption: Spoken | None
    spoken_question: Spoken | None
    spoken_answer: str


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
class TrainingBatch:
    """What one step learns from. `*_of` say which scene an input belongs to."""

    pixel_values: Tensor
    things: Tensor
    """(batch, image tokens, 3): word pieces of the size, colour and shape of what each token shows"""
    captions: Padded
    caption_words: Written
    caption_group: Tensor
    """equal numbers for scenes with equal captions: they are no negatives of each other"""
    questions: Padded
    question_of: Tensor
    answers: Written
    spoken_captions: Padded
    spoken_caption_of: Tensor
    spoken_caption_words: Written
    spoken_questions: Padded
    spoken_question_of: Tensor
    spoken_question_words: Written
    spoken_answers: Written

    def to(self, device: torch.device) -> TrainingBatch:
        """Move every tensor."""
        moved: dict[str, Any] = {name: _moved(getattr(self, name), device) for name in self.__slots__}
        return TrainingBatch(**moved)


class Batches(Dataset[TrainingBatch]):
    """Item `step` is the batch of that step; with several processes each builds its own share of the scenes."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a batch follows from
        self, cache: SpeechCache, tokenizer: Tokenizer, steps: int, size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self._cache, self._tokenizer = cache, tokenizer
        self._steps, self._size, self._seed, self._rank, self._world = steps, size, seed, rank, world
        self._hear, self._see = NormalMel(AUDIO_SETTINGS), ImageFrontEnd(IMAGE_SETTINGS)
        captions = (place for place, one in enumerate(cache.utterances) if one.kind == "caption")
        self._captions = [place for place in captions if cache.seconds(place) <= LONGEST_S]
        self._questions: dict[str, list[int]] = {}
        for place, one in enumerate(cache.utterances):
            if one.kind == "question":
                self._questions.setdefault(one.text, []).append(place)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> TrainingBatch:
        share = self._size // self._world
        mine = range(self._rank * share, (self._rank + 1) * share)
        return collate([self.example(step * self._size + index) for index in mine], self._tokenizer)

    def example(self, number: int) -> Example:
        """The example of a number: even ones are spoken, odd ones fresh."""
        seed = self._seed * 1_000_003 + number
        dice, noise = random.Random(seed), np.random.default_rng(seed)
        spoken_caption = None
        if number % 2 == 0:
            place = pick(dice, self._captions)
            text = self._cache.utterances[place].text
            scene = _varied(imagine(self._cache.utterances[place].seed), text, seed)
            spoken_caption = self._spoken(place, text, noise)
        else:
            scene, text = _fresh(FIRST_FRESH_SEED + number)
        asked = [one for one in questions(scene, 12, seed) if not held_out(one.text)]
        spoken = next((one for one in reversed(asked) if one.text in self._questions), None)
        spoken_question = None
        if spoken is not None:
            spoken_question = self._spoken(pick(dice, self._questions[spoken.text]), spoken.text, noise)
        typed = tuple(Question(one.kind, reworded(one.text, dice), one.answer) for one in asked[:TYPED_QUESTIONS])
        pixels, answer = self._see(draw(scene)), spoken.answer if spoken else ""
        return Example(pixels, things_shown(scene), text, typed, spoken_caption, spoken_question, answer)

    def _spoken(self, place: int, text: str, noise: np.random.Generator) -> Spoken:
        samples = self._cache.samples(place)
        before, after = (int(noise.uniform(0, MOST_SILENCE_S) * RATE_HZ) for _ in range(2))
        return Spoken(self._hear.features(augmented(np.pad(samples, (before, after)), noise)), text)


def _fresh(seed: int) -> tuple[Scene, str]:
    """The first scene from a seed on whose caption is not held out."""
    while True:
        scene = imagine(seed)
        text = caption(scene)
        if not held_out(text):
            return scene, text
        seed += 500_000_000


def _varied(scene: Scene, text: str, seed: int) -> Scene:
    """The scene with everything moved a little, if all that is said of it stays true."""
    moved = shifted(scene, seed, SHIFT_PIXELS)
    told_alike = caption(moved).partition(" background")[0] == text.partition(" background")[0]
    return moved if told_alike and not false_claims(text, moved) else scene


def things_shown(scene: Scene) -> tuple[tuple[str, ...], ...]:
    """Size, colour and shape of the item at the middle of each token's square, row by row; else the background."""
    middles = [STRIDE * (place + 0.5) for place in range(SIDE_PIXELS // STRIDE)]
    shown = []
    for y, x in itertools.product(middles, middles):
        here = [item for item in scene.items if math.dist((item.x, item.y), (x, y)) <= item.radius]
        names = (here[-1].size, here[-1].colour, here[-1].shape) if here else (scene.background,) * 3
        shown.append(names)
    return tuple(shown)


def _names(tokenizer: Tokenizer, things: Sequence[Sequence[Sequence[str]]]) -> Tensor:
    """Word pieces of names, which are one piece each."""
    words = {word for shown in things for names in shown for word in names}
    pieces = {word: tokenizer.encode(word).ids for word in words}
    assert all(len(ids) == 1 for ids in pieces.values())
    return torch.tensor([[[pieces[word][0] for word in names] for names in shown] for shown in things])


def collate(examples: Sequence[Example], tokenizer: Tokenizer) -> TrainingBatch:
    """Put examples together."""
    texts = [example.caption for example in examples]
    asked = [(place, one) for place, example in enumerate(examples) for one in example.typed]
    told = [(place, one.spoken_caption) for place, one in enumerate(examples) if one.spoken_caption]
    heard = [(place, one.spoken_question) for place, one in enumerate(examples) if one.spoken_question]
    return TrainingBatch(
        pixel_values=torch.from_numpy(np.stack([example.pixels for example in examples])),
        things=_names(tokenizer, [example.things for example in examples]),
        captions=_padded_texts(tokenizer, texts),
        caption_words=_written(tokenizer, "caption", texts),
        caption_group=torch.tensor([zlib.crc32(text.encode()) for text in texts]),
        questions=_padded_texts(tokenizer, [one.text for _, one in asked]),
        question_of=torch.tensor([place for place, _ in asked]),
        answers=_written(tokenizer, "answer", [one.answer for _, one in asked]),
        spoken_captions=_padded_sounds([one for _, one in told]),
        spoken_caption_of=torch.tensor([place for place, _ in told]),
        spoken_caption_words=_written(tokenizer, "transcribe", [one.text for _, one in told]),
        spoken_questions=_padded_sounds([one for _, one in heard]),
        spoken_question_of=torch.tensor([place for place, _ in heard]),
        spoken_question_words=_written(tokenizer, "transcribe", [one.text for _, one in heard]),
        spoken_answers=_written(tokenizer, "answer", [examples[place].spoken_answer for place, _ in heard]),
    )


def _padded_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> Padded:
    ids = [encoded.ids for encoded in tokenizer.encode_batch(list(texts))]
    values = torch.full((len(ids), max(map(len, ids))), _token(tokenizer, PAD))
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
    longest = max(sound.features.shape[1] for sound in sounds)
    values = torch.zeros(len(sounds), sounds[0].features.shape[0], longest)
    mask = torch.zeros(len(sounds), longest, dtype=torch.bool)
    for row, sound in enumerate(sounds):
        frames = sound.features.shape[1]
        values[row, :, :frames] = torch.from_numpy(sound.features)
        mask[row, :frames] = True
    return Padded(values, mask)


def _moved(part: Tensor | Padded | Written, device: torch.device) -> Tensor | Padded | Written:
    if isinstance(part, Tensor):
        return part.to(device)
    return type(part)(*(getattr(part, name).to(device) for name in part.__slots__))
