"""How time and memory of `gptq` grow with depth: depth.py [ROUNDS]

Llama-shaped decoders of one width with 4, 8 and 16 layers and random weights, 16 × 256 calibration tokens. Every case
runs in a fresh process. Memory is the peak while the method works, less what was resident when it began and had to be:
the weights themselves.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from timing import THREADS, in_turns, ratios, spread, write

DEPTHS = (4, 8, 16)
ITEMS, TOKENS = 16, 256


def run_case(layers: int) -> None:
    """Make a decoder, settle its layers, print seconds and bytes."""
    import psutil
    import torch
    import transformers

    from penjing.judge.footprint import forget_peak, own_peak_bytes
    from penjing.methods import Aids, make
    from penjing.models.open import open_model

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=512, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=512,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        model = open_model(folder)
        (decoder,) = [tower for tower in model.towers if tower.role == "decoder"]
        batches = [{"input_ids": torch.randint(0, 512, (1, TOKENS))} for _ in range(ITEMS)]
        make("gptq", {"bits": 4}).run(decoder, batches[:1], Aids(open_model(folder), [], 0, Path(folder)))  # warms up
        model = open_model(folder)
        (decoder,) = [tower for tower in model.towers if tower.role == "decoder"]
        resident = psutil.Process().memory_info().rss
        forget_peak()
        start = time.perf_counter()
        make("gptq", {"bits": 4}).run(decoder, batches, Aids(model, [], 0, Path(folder)))
        seconds = time.perf_counter() - start
    weights = 4 * sum(parameter.numel() for parameter in model.net.parameters())
    peak = own_peak_bytes()
    print(json.dumps({"seconds": seconds, "peak": peak, "added": peak - resident, "weights": weights}))


def main() -> None:
    """Run one case, or all in turns."""
    if len(sys.argv) > 2:
        run_case(int(sys.argv[2]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    commands = {f"{layers} layers": [sys.executable, __file__, "case", str(layers)] for layers in DEPTHS}
    found = in_turns(commands, rounds)
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
    added = {name: [run["added"] for run in runs] for name, runs in found.items()}
    document = {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "t(16) / t(8)": ratios(seconds, "16 layers", "8 layers"),
        "bytes above what was resident": {name: spread(values) for name, values in added.items()},
        "peak": {name: spread([run["peak"] for run in runs]) for name, runs in found.items()},
        "peak without weights, 16 / 4": spread(
            [
                (deep["peak"] - deep["weights"]) / (flat["peak"] - flat["weights"])
                for deep, flat in zip(found["16 layers"], found["4 layers"], strict=True)
            ]
        ),
    }
    write("depth", document)


if __name__ == "__main__":
    main()
