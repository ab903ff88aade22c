"""Whisper's encoder, faster than by int8 alone: what each lever gives, and what it costs in words.

usage: whisper_encoder.py MODEL FOLDER [CASE…]   (FOLDER: name-LANGUAGE-000.ogg + .txt; cases are in CASES)

Clips with an even number calibrate (0, 4, 8 …) and select (2, 6 …), as do the parts of the built-in English set that
are for it; all others judge, and nothing was chosen by them. Encoders run in turns at equal lengths of clip in one
process, and so do whole transcriptions, clip by clip. Word errors are pooled over languages, with the paired interval
of the change from the first case. Cases that are built already are not built again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from graphs import built
from timing import THREADS, write

AFTER = """  - {method: rtn, bits: 8, towers: [encoder, decoder, embedding]}
  - {method: float16, towers: [encoder, decoder]}
"""
STATIC = "  - {method: static_int8, towers: [encoder]}\n"
EVERYWHERE = "  - {method: static_int8, towers: [encoder], calibration: mse, max_error: 0.3}\n"
MERGED = "ratio: [0, 0, 0.4], match: local"
POOLED = "keys: [2, 2]"
TOKENS = "  - {{method: tokens, towers: [encoder], {}}}\n"
NARROW = "  - {method: width, towers: [encoder], neurons: 0.125}\n"
CASES = {
    "straight": STATIC,
    "int8 everywhere": EVERYWHERE,
    "merged": TOKENS.format(MERGED) + EVERYWHERE,
    "fewer keys": TOKENS.format(POOLED) + EVERYWHERE,
    "narrow": NARROW + EVERYWHERE,
    "fast": TOKENS.format(f"{MERGED}, {POOLED}") + EVERYWHERE,
}
"""The recipe `speech`, what each lever gives beside int8 in every layer, and the recipe `speech-fast`."""
FRAMES = (600, 1000, 1500)
ROUNDS = 20


def parts_of(folder: Path) -> Any:
    """Rows to calibrate, select and judge: the built-in English ones, and those of the folder dealt by number."""
    from penjing.data.row import Row
    from penjing.data.source import load_dataset
    from penjing.data.split import Parts, split

    own = split(load_dataset("speech"))
    dealt: dict[int, list[Row]] = {0: [], 2: [], 1: []}
    for clip in sorted(folder.glob("*.ogg")):
        _, language, number = clip.stem.rsplit("-", 2)
        told = {"text": clip.with_suffix(".txt").read_text(encoding="utf8").strip(), "language": language}
        dealt[1 if int(number) % 2 else int(number) % 4].append(Row(clip.name, told, "audio", clip))
    return Parts((*dealt[0], *own.calibrate[::2]), (*dealt[2], *own.select[::4]), (*dealt[1], *own.judge))


def encoders(places: Mapping[str, Path], engine: Any) -> dict[str, Any]:
    """Milliseconds of every encoder at each length, in turns, and their ratios to the first one's."""
    import numpy as np

    from penjing.evaluate.speed import interleave, latency, speed_ratio

    graphs = {name: engine.open(place / "onnx" / "encoder_model.onnx") for name, place in places.items()}
    found: dict[str, Any] = {}
    for frames in FRAMES:
        sound = {"input_features": np.random.default_rng(0).standard_normal((1, 80, frames), dtype=np.float32)}
        runs = {name: partial(graph, sound) for name, graph in graphs.items()}
        times = interleave(runs, rounds=ROUNDS, warm_up=3)
        first = next(iter(times.values()))
        found[f"{frames} frames"] = {
            name: {"p50_ms": latency(own, THREADS).p50_ms, "ratio": speed_ratio(own, first).as_json()}
            for name, own in times.items()
        }
    return found


class Clocked:
    """An encoder's graph that adds up the seconds it takes."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.seconds = graph, 0.0
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def __call__(self, arrays: Any) -> Any:
        """Run the graph."""
        import time

        start = time.perf_counter()
        found = self.graph(arrays)
        self.seconds += time.perf_counter() - start
        return found


def transcribed(places: Mapping[str, Path], rows: Sequence[Any], engine: Any) -> dict[str, Any]:
    """Texts of every case, and the seconds of whole transcriptions and of their encoders; clip by clip in turns."""
    import json
    import time

    from penjing.data.audio import read_audio
    from penjing.runtimes.decoder import open_decoder
    from penjing.runtimes.speech import SpeechRunner

    runners, clocks = {}, {}
    for name, place in places.items():
        settings = json.loads((place / "penjing.json").read_text(encoding="utf8"))["settings"]
        clocks[name] = Clocked(engine.open(place / "onnx" / "encoder_model.onnx"))
        decoder = open_decoder(place, settings, engine, "decoder_with_past_model")
        runners[name] = SpeechRunner(clocks[name], decoder, settings, place / "tokenizer.json")
        runners[name].warm_up()
        clocks[name].seconds = 0.0
    texts: dict[str, list[str]] = {name: [] for name in runners}
    seconds = dict.fromkeys(runners, 0.0)
    for turn, row in enumerate(rows):
        samples = read_audio(row.file, 16000)
        order = [*runners]
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            start = time.perf_counter()
            texts[name].append(runners[name].transcribe(samples, row.fields.get("language", "en")).text)
            seconds[name] += time.perf_counter() - start
    first = next(iter(seconds.values()))
    return {
        name: {
            "texts": texts[name],
            "seconds": seconds[name],
            "ratio": seconds[name] / first,
            "encoder_share": clocks[name].seconds / seconds[name],
        }
        for name in runners
    }


def judged(heard: dict[str, Any], rows: Sequence[Any]) -> None:
    """Put word errors in the place of texts: pooled, by language, and the change from the first case."""
    from penjing.evaluate.interval import bootstrap, paired_difference
    from penjing.evaluate.words import speech_scores

    languages = [row.fields.get("language", "en") for row in rows]
    references = [row.fields["text"] for row in rows]
    first = None
    for one in heard.values():
        texts = one.pop("texts")
        pooled = speech_scores(references, texts, languages)["wer"]
        first = first or pooled
        one["wer"], one["change"] = bootstrap(pooled).as_json(), paired_difference(first, pooled).as_json()
        one["by language"] = {
            language: float(pooled.numerator[mine].sum() / pooled.denominator[mine].sum())
            for language in sorted(set(languages))
            for mine in [[place for place, spoken in enumerate(languages) if spoken == language]]
        }


def main() -> None:
    """Build what is missing, then measure everything in turns."""
    from penjing.runtimes.engine import choose_engine

    model, folder, *names = sys.argv[1:]
    parts = parts_of(Path(folder))
    label = f"whisper-encoder-{Path(model).name}"
    places = {name: built(model, f"{label}-{name}", CASES[name] + AFTER, parts) for name in names or CASES}
    engine = choose_engine("openvino", THREADS, cache=False)
    heard = transcribed(places, parts.judge, engine)
    judged(heard, parts.judge)
    found = {"engine": engine.name, "clips": len(parts.judge), "encoder": encoders(places, engine), "whole": heard}
    write(label, found)


if __name__ == "__main__":
    main()
