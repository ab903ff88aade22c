"""Perplexity of a small language model at 4 and 3 bits, method by method: language.py MODEL [METHOD…]

MODEL is a folder of SmolLM2-135M-Instruct, or any other causal model. The data are on every Debian: 64 × 512 tokens of
the standard library's sources and of licence texts calibrate, 24 × 512 tokens of GPL-3 and the Artistic Licence judge;
each window is read by itself. Weights are symmetric in groups of 64; table and head stay float. Every case runs in a
fresh process, which also tells wall time and peak memory of the work, judging not counted. llm-compressor does the same
work beside it where $PENJING_PEER_PYTHON names a Python that has it.
"""

from __future__ import annotations

import glob
import json
import math
import os
import resource
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, write

WINDOW, CALIBRATED, JUDGED = 512, 64, 24
LICENCES = Path("/usr/share/common-licenses")
PEER = Path(__file__).with_name("peer_llmcompressor.py")
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "source": [],
    "rtn": [("rtn", {"clip": False})],
    "rtn, clipped": [("rtn", {})],
    "gptq": [("gptq", {})],
    "awq": [("awq", {})],
    "autoround": [("autoround", {"items": 2})],
    "awq, gptq": [("awq", {"round_weights": False}), ("gptq", {})],
}
BITS = (4, 3)


def tokens_of(folder: Path, paths: list[Path]) -> Any:
    """All texts' tokens behind each other, (n,)."""
    import torch
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder)
    return torch.cat([words(path.read_text(errors="ignore"), return_tensors="pt").input_ids[0] for path in paths])


def calibration(folder: Path) -> list[dict[str, Any]]:
    """64 windows drawn with seed 0."""
    import torch

    sources = [Path(path) for path in sorted(glob.glob(sysconfig.get_paths()["stdlib"] + "/*.py"))[:25]]
    licences = [LICENCES / name for name in ("LGPL-3", "MPL-2.0", "Apache-2.0", "GFDL-1.3")]
    every = tokens_of(folder, [*sources, *licences])
    starts = torch.randint(0, len(every) - WINDOW, (CALIBRATED,), generator=torch.Generator().manual_seed(0)).tolist()
    return [{"input_ids": every[first : first + WINDOW][None]} for first in starts]


def perplexity(net: Any, tokens: Any) -> float:
    """exp of nats per token over the windows."""
    import torch

    nats, count = 0.0, 0
    for first in range(0, min(len(tokens) - 1, JUDGED * WINDOW), WINDOW):
        part = tokens[first : first + WINDOW]
        with torch.no_grad():
            logits = net(part[None], use_cache=False).logits[0, :-1]
        for rows, targets in zip(logits.split(64), part[1:].split(64), strict=True):  # the vocabulary is large
            nats += float(torch.nn.functional.cross_entropy(rows.double(), targets, reduction="sum"))
        count += len(part) - 1
    return math.exp(nats / count)


def run_case(folder: Path, case: str, bits: int) -> None:
    """Compress the decoder's linear layers and print what came of it."""
    import torch

    from penjing.methods import Aids, make
    from penjing.models.open import open_model

    torch.set_num_threads(THREADS)
    model = open_model(str(folder))
    (decoder,) = [tower for tower in model.towers if tower.role == "decoder"]
    linear = tuple(name for name, site in decoder.sites.items() if site.kind == "linear")
    batches = calibration(folder)
    started = time.perf_counter()
    notes = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, settings in CASES[case]:
            method = make(name, {"bits": bits, "group": 64, "sites": linear, **settings})
            notes = method.run(decoder, batches, Aids(model, [], 0, Path(scratch)))
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not [note.site for note in notes if note.skipped]
    judged = tokens_of(folder, [LICENCES / "GPL-3", LICENCES / "Artistic"])
    found = {
        "perplexity": perplexity(model.net, judged),
        "seconds": seconds,
        "peak_rss_bytes": peak * 1024,
        "bits": max((note.bits for note in notes), default=32.0),
    }
    print(json.dumps(found))


def main() -> None:
    """Run one case, or all of them in fresh processes."""
    folder, *rest = sys.argv[1:]
    if len(rest) == 2 and rest[1].isdigit():
        run_case(Path(folder), rest[0], int(rest[1]))
        return
    wanted = rest or list(CASES)
    cases = [(case, bits) for case in wanted for bits in (BITS if CASES[case] else BITS[:1])]
    commands = {f"{case}, {bits} bits": [sys.executable, __file__, folder, case, str(bits)] for case, bits in cases}
    peer = os.environ.get("PENJING_PEER_PYTHON")
    if peer:
        commands |= {f"llm-compressor gptq, {bits} bits": [peer, str(PEER), folder, str(bits)] for bits in BITS}
    write("language", {name: found[0] for name, found in in_turns(commands, 1).items()})


if __name__ == "__main__":
    main()
