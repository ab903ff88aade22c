"""What the seedling learns from, one scene at a time: a function of the seed and a number, so that nothing is kept.

Half of the examples are scenes whose caption somebody reads aloud, drawn anew at every turn with everything moved a
little; the others are scenes never drawn before. Every example has questions, typed, and where the cache holds one that
fits, a spoken one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penjing.data.image import ImageFrontEnd
from penjing.data.normal_mel import NormalMel
from penjing.data.pictures import SIDE_PIXELS, pick
from penjing.scenes.captions import NUMBERS, caption, false_claims
from penjing.scenes.holdout import held_out
from penjing.scenes.questions import Question, questions, reworded
from penjing.scenes.relations import kind, thirds
from penjing.scenes.scene import Scene, draw, imagine, shifted
from penjing.seedling.front_end import AUDIO_SETTINGS, IMAGE_SETTINGS
from penjing.seedling.speech import LONGEST_S, RATE_HZ, SpeechCache, augmented
from penjing.values import FloatArray

FIRST_FRESH_SEED = 1_000_000_000
"""Seeds of scenes drawn once only; those of the spoken ones lie below, those of the built-in set above twice it."""
TYPED_QUESTIONS = 3
STRIDE = 8
"""Pixels between tokens of a picture."""
SHIFT_PIXELS = 8.0
MOST_SILENCE_S = 0.4


@dataclass(frozen=True, slots=True)
class Look:
    """A picture (3, height, width), normalised, and for each of its tokens the names of what it shows."""

    pixels: FloatArray
    things: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """Log-mel features (mels, frames) and the words."""

    features: FloatArray
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One scene with all that is said and asked about it."""

    look: Look
    caption: str
    typed: tuple[Question, ...]
    spoken_caption: Spoken | None
    spoken_question: Spoken | None
    spoken_answer: str


class Examples:
    """The examples of a seed by their number; even ones are spoken, odd ones fresh."""

    def __init__(self, cache: SpeechCache, seed: int) -> None:
        self._cache, self._seed = cache, seed
        self._hear, self._see = NormalMel(AUDIO_SETTINGS), ImageFrontEnd(IMAGE_SETTINGS)
        captions = (place for place, one in enumerate(cache.utterances) if one.kind == "caption")
        self._captions = [place for place in captions if cache.seconds(place) <= LONGEST_S]
        self._questions: dict[str, list[int]] = {}
        for place, one in enumerate(cache.utterances):
            if one.kind == "question":
                self._questions.setdefault(one.text, []).append(place)

    def look(self, number: int) -> Look:
        """A fresh scene, to look at only."""
        return self._look(_fresh(FIRST_FRESH_SEED + number)[0])

    def written(self, number: int) -> Example:
        """A fresh scene and what is written of it; nobody speaks."""
        seed = self._seed * 1_000_003 + number
        scene, text = _fresh(FIRST_FRESH_SEED + number)
        asked = [one for one in questions(scene, 2 * TYPED_QUESTIONS, seed) if not held_out(one.text)]
        return Example(self._look(scene), text, _typed(asked, random.Random(seed)), None, None, "")

    def example(self, number: int) -> Example:
        """A scene and all that is said of it."""
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
        answer = spoken.answer if spoken else ""
        return Example(self._look(scene), text, _typed(asked, dice), spoken_caption, spoken_question, answer)

    def _look(self, scene: Scene) -> Look:
        return Look(self._see(draw(scene)), things_shown(scene))

    def _spoken(self, place: int, text: str, noise: np.random.Generator) -> Spoken:
        samples = self._cache.samples(place)
        before, after = (int(noise.uniform(0, MOST_SILENCE_S) * RATE_HZ) for _ in range(2))
        return Spoken(self._hear.features(augmented(np.pad(samples, (before, after)), noise)), text)


def things_shown(scene: Scene) -> tuple[tuple[str, ...], ...]:
    """What the item at the middle of each token's square is, row by row; else the background.

    Its size, colour and shape, how many like it there are, and the row and column of the nine squares it lies in.
    """
    middles = [STRIDE * (place + 0.5) for place in range(SIDE_PIXELS // STRIDE)]
    counts = Counter(map(kind, scene.items))
    shown = []
    for y, x in itertools.product(middles, middles):
        here = [item for item in scene.items if math.dist((item.x, item.y), (x, y)) <= item.radius]
        item = here[-1] if here else None
        shown.append(
            (item.size, item.colour, item.shape, NUMBERS[counts[kind(item)]], *thirds(item))
            if item
            else (scene.background,) * 6
        )
    return tuple(shown)


def _typed(asked: Sequence[Question], dice: random.Random) -> tuple[Question, ...]:
    """The first few, as different people would ask them."""
    return tuple(Question(one.kind, reworded(one.text, dice), one.answer) for one in asked[:TYPED_QUESTIONS])


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
