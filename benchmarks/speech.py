"""File to text, in fresh processes, first pass counted. usage: speech.py MODEL ARTIFACT [--peer CT2_FOLDER]
[--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from timing import THREADS, clips, in_turns, ratios, spread, write

HERE = Path(__file__)
PEER = HERE.with_name("peer_faster_whisper.py")


def main() -> None:
    """Measure every system in turns and print ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("artifact")
    parser.add_argument("--peer", help="CTranslate2 folder for faster-whisper, run by $PENJING_PEER_PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    chosen = clips()
    listed = json.dumps(chosen)
    files = [clip["file"] for clip in chosen]
    penjing = [sys.executable, "-m", "penjing", "transcribe", arguments.artifact, *files]
    penjing += ["--json", "--threads", str(THREADS), "--language", "en"][
        : None if multilingual(arguments.artifact) else 3
    ]
    commands = {
        "openvino": [*penjing, "--engine", "openvino"],
        "onnxruntime": [*penjing, "--engine", "onnxruntime"],
        "eager": [sys.executable, str(HERE), "eager", arguments.model, listed],
    }
    if arguments.peer:
        commands["faster-whisper"] = [os.environ["PENJING_PEER_PYTHON"], str(PEER), arguments.peer, listed]
    found = in_turns(commands, arguments.rounds)
    seconds = {name: [sum(row["seconds"] for row in run["results"]) for run in runs] for name, runs in found.items()}
    texts = {name: [row["text"] for row in runs[0]["results"]] for name, runs in found.items()}
    report(arguments, chosen, seconds, texts)


def report(
    arguments: Any, chosen: list[dict[str, str]], seconds: dict[str, list[float]], texts: dict[str, Any]
) -> None:
    """Print seconds, WER and ratios."""
    from penjing.evaluate.words import speech_scores

    references = [clip["text"] for clip in chosen]
    systems = {
        name: {
            "seconds": spread(seconds[name]),
            "wer": speech_scores(references, texts[name], ["en"] * len(chosen))["wer"].value,
        }
        for name in seconds
    }
    pairs = {f"{ours}/{base}": ratios(seconds, ours, base) for ours in ("openvino", "onnxruntime")
             for base in ("eager", "faster-whisper") if base in seconds}  # fmt: skip
    name = f"speech-{Path(arguments.artifact).name}"
    write(
        name,
        {"clips": len(chosen), "rounds": arguments.rounds, "threads": THREADS, "systems": systems, "ratios": pairs},
    )


def multilingual(artifact: str) -> bool:
    """Return whether the artifact knows languages."""
    manifest = json.loads((Path(artifact) / "penjing.json").read_text(encoding="utf8"))
    return bool(manifest["settings"]["generation"]["languages"])


def eager(model: str, chosen: list[dict[str, str]]) -> None:
    """Transformers in PyTorch eager float32 on 30 s of padding, greedy: what a user of the library gets."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizerFast
    from transformers.utils import logging

    from penjing.data.audio import read_audio

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(THREADS)
    net = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    extractor, tokenizer = WhisperFeatureExtractor.from_pretrained(model), WhisperTokenizerFast.from_pretrained(model)
    options = {"language": "en", "task": "transcribe"} if net.generation_config.is_multilingual else {}
    results = []
    for clip in chosen:
        start = time.perf_counter()
        samples = read_audio(clip["file"])
        features = extractor(samples, sampling_rate=16000, return_tensors="pt").input_features
        with torch.inference_mode():
            tokens = net.generate(features, num_beams=1, do_sample=False, **options)
        text = tokenizer.decode(tokens[0], skip_special_tokens=True)
        results.append({"seconds": time.perf_counter() - start, "text": text})
    print(json.dumps({"results": results}))


if __name__ == "__main__":
    if sys.argv[1] == "eager":
        eager(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
