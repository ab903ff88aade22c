"""llm-compressor's GPTQ on the tokens of language.py, in an environment of its own: peer_llmcompressor.py MODEL BITS"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

from language import LICENCES, WINDOW, calibration, perplexity, tokens_of
from timing import THREADS

GROUP = 64


def main() -> None:
    """Compress all linear layers but the head, and print what came of it."""
    folder, bits = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(THREADS)
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    windows = [batch["input_ids"][0].tolist() for batch in calibration(folder)]
    rows = [{"input_ids": window, "attention_mask": [1] * WINDOW} for window in windows]
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
    modifier = GPTQModifier(config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"])
    started = time.perf_counter()
    oneshot(
        model=net, processor=AutoTokenizer.from_pretrained(folder), dataset=Dataset.from_list(rows), recipe=modifier,
        max_seq_length=WINDOW, num_calibration_samples=len(rows),
    )  # fmt: skip
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    judged = tokens_of(folder, [LICENCES / "GPL-3", LICENCES / "Artistic"])
    found = {
        "perplexity": perplexity(net, judged),
        "seconds": seconds,
        "peak_rss_bytes": peak * 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
