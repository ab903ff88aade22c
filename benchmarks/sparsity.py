"""Perplexity of a small language model with half of its weights masked, method by method: sparsity.py MODEL [CASE…]

Model, data and windows are those of language.py: all linear layers of the decoder are masked, table and head are not.
Every case runs in a fresh process, which also tells wall time and peak memory of the work, judging not counted, and the
share of their float32 bytes that the masked weights take in a checkpoint. `gptq` behind a mask settles 4-bit codes of
what stays.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from language import LICENCES, calibration, perplexity, tokens_of
from timing import THREADS, in_turns, write

SHARE: dict[str, Any] = {"share": 0.5}
PATTERN: dict[str, Any] = {"pattern": "2:4"}
CODES: tuple[str, dict[str, Any]] = ("gptq", {"bits": 4, "group": 64})
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "source": [],
    "magnitude, 50%": [("magnitude", SHARE)],
    "magnitude, 50% of all together": [("magnitude", {**SHARE, "scope": "global"})],
    "wanda, 50%": [("wanda", SHARE)],
    "sparsegpt, 50%": [("sparsegpt", SHARE)],
    "magnitude, 2:4": [("magnitude", PATTERN)],
    "wanda, 2:4": [("wanda", PATTERN)],
    "sparsegpt, 2:4": [("sparsegpt", PATTERN)],
    "wanda, 50%, gptq": [("wanda", SHARE), CODES],
    "sparsegpt, 50%, gptq": [("sparsegpt", SHARE), CODES],
}


def run_case(folder: Path, case: str) -> None:
    """Mask the decoder's linear layers and print what came of it."""
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
            method = make(name, {"sites": linear, **settings})
            notes = method.run(decoder, batches, Aids(model, [], 0, Path(scratch)))
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not [note.site for note in notes if note.skipped]
    weights = sum(decoder.sites[note.site].weight.numel() for note in notes)
    zeros = sum(int((decoder.sites[name].weight == 0).sum()) for name in linear)
    found = {
        "perplexity": perplexity(model.net, tokens_of(folder, [LICENCES / "GPL-3", LICENCES / "Artistic"])),
        "seconds": seconds,
        "peak_rss_bytes": peak * 1024,
        "zeros": zeros / sum(decoder.sites[name].weight.numel() for name in linear),
        "share of float32": sum(note.size_bytes for note in notes) / (4 * weights) if notes else 1.0,
    }
    print(json.dumps(found))


def main() -> None:
    """Run one case, or all of them in fresh processes."""
    folder, *rest = sys.argv[1:]
    if rest[:1] == ["case"]:
        run_case(Path(folder), rest[1])
        return
    commands = {case: [sys.executable, __file__, folder, "case", case] for case in rest or CASES}
    write("sparsity", {name: found[0] for name, found in in_turns(commands, 1).items()})


if __name__ == "__main__":
    main()
