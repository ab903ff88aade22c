"""A step of Whisper's decoder with fewer layers and fewer words, at equal bits: whisper_decoder.py MODEL WORDS

WORDS is a text file of the words of the languages that are kept: one a line, as dictionaries list them. All three
decoders have int8 weights: the recipe `speech`, two layers less, and the same with the words of WORDS alone. They spell
in turns in one process, in both engines, after a clip of six seconds. Beside it stands what memory alone would allow:
the bytes of weights that a step reads. What is spelled is not looked at: nothing is healed here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphs import built
from timing import THREADS, write

LAYERS = "  - {method: depth, drop: 2, towers: [decoder], by: influence}\n"
INT8 = "  - {method: rtn, bits: 8, towers: [encoder, decoder, embedding]}\n"
WORDS = "  - {{method: vocab, corpus: false, file: {}}}\n"
FRAMES, SPELLED, ROUNDS = 600, 32, 40


def with_spaces(words: Path, folder: Path) -> Path:
    """The words as texts have them: behind a space, small and with a capital."""
    kept = folder / "words.txt"
    lines = words.read_text(encoding="utf8").splitlines()
    kept.write_text("\n".join(f" {word} {word.capitalize()}" for word in lines), encoding="utf8")
    return kept


def speller(place: Path, engine: Any) -> Callable[[], None]:
    """Spell so many tokens of noise."""
    import numpy as np

    from penjing.runtimes.decoder import open_decoder

    settings = json.loads((place / "penjing.json").read_text(encoding="utf8"))["settings"]
    encoder = engine.open(place / "onnx" / "encoder_model.onnx")
    bands = settings["audio"]["feature_size"]
    sound = np.random.default_rng(0).standard_normal((1, bands, FRAMES), dtype=np.float32)
    heard = encoder({"input_features": sound})
    decoder = open_decoder(place, settings, engine)

    def spell() -> None:
        decoder.start(heard)
        for token in range(SPELLED):
            decoder.step([token + 1])

    return spell


def times(places: dict[str, Path], engine_name: str) -> dict[str, Any]:
    """Milliseconds of a step, in turns, and ratios to the first."""
    from penjing.evaluate.speed import interleave, latency, speed_ratio
    from penjing.runtimes.engine import choose_engine

    engine = choose_engine(engine_name, THREADS, cache=False)
    found = interleave({name: speller(place, engine) for name, place in places.items()}, rounds=ROUNDS)
    first = next(iter(found.values()))
    return {
        name: {"p50_ms": latency(own, THREADS).p50_ms / SPELLED, "ratio": speed_ratio(own, first).as_json()}
        for name, own in found.items()
    }


def main() -> None:
    """Build what is missing, then time it in both engines."""
    from penjing.data.source import load_dataset
    from penjing.data.split import split

    model, words = sys.argv[1], Path(sys.argv[2])
    parts, label = split(load_dataset("speech")), Path(model).name
    with tempfile.TemporaryDirectory() as folder:
        trimmed = WORDS.format(with_spaces(words, Path(folder)))
        cases = {"speech": INT8, "layers": LAYERS + INT8, "layers and words": LAYERS + trimmed + INT8}
        places = {name: built(model, f"whisper-decoder-{label}-{name}", steps, parts) for name, steps in cases.items()}
    sizes = {name: (place / "onnx" / "decoder_with_past_model.onnx").stat().st_size for name, place in places.items()}
    bound = {name: size / sizes["speech"] for name, size in sizes.items()}
    found = {engine: times(places, engine) for engine in ("openvino", "onnxruntime")}
    write(f"whisper-decoder-{label}", {"threads": THREADS, "size_bytes": sizes, "bound": bound, "times": found})


if __name__ == "__main__":
    main()
