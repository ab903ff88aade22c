"""Few bits a weight in all linear layers, by method: low_bits.py seedling|seedling-3|seedling-3-rows|WHISPER [METHOD…]

The same bits and groups for every method, so that the loss of plain rounding stands beside that of the others; tables
of words and convolutions have 8 bits and count apart. Nothing is refused here (no goals): the loss is what
is looked for. `seedling-3` has 3 bits in every linear layer, where differences show that 4 bits hide, and
`seedling-3-rows` one scale for a whole row of weights. After `distill` codes have learned through their rounding. Each
case is one run of `compress` in a fresh process, judged in the engine on rows no step has read.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from timing import BUILD, in_turns, write

SEEDLING = (
    (
        "bits: 2, group: 128",
        '["image.layers.[01].feed.fc2", "audio.layers.*.feed.fc2", "text.*.fc2"]',
        "[image, text, audio]",
    ),
    ("bits: 4, group: 128", '["*.fc2"]', "[image, text, audio, fusion, decoder]"),
    ("bits: 4, group: 32", "", "[image, text, audio, fusion, decoder]"),
)
"""160 inputs end in groups of 32, a scale for every 32 weights (5 bits); six of the widest layers make up for it."""
SEEDLING_3 = (("bits: 3, group: 32", "", "[image, text, audio, fusion, decoder]"),)
WHISPER = (("bits: 4, group: 128", "", "[encoder, decoder]"),)
SEEDLING_3_ROWS = (("bits: 3, group: 0", "", "[image, text, audio, fusion, decoder]"),)
GRIDS = {"seedling": SEEDLING, "seedling-3": SEEDLING_3, "seedling-3-rows": SEEDLING_3_ROWS}
LEARNED = 'distill, steps: 400, rate: 0.0005, data: "scenes-train:600"'
METHODS = {
    "rtn": ["rtn"],
    "hqq": ["hqq"],
    "gptq": ["gptq"],
    "gptq, unbalanced": ["gptq, balance: false"],
    "awq": ["awq"],
    "awq, gptq": ["awq, round_weights: false", "gptq"],
    "autoround": ["autoround"],
    "rtn, distill": ["rtn", LEARNED],
    "gptq, distill": ["gptq", LEARNED],
}
TASKS = ("wer", "accuracy", "recall_at_1", "truth")


def recipe_of(grids: tuple[tuple[str, str, str], ...], methods: list[str]) -> str:
    """The steps of a case, and 8 bits for what is no linear layer."""
    lines = ["version: 1", "steps:"]
    for bits, sites, towers in grids:
        chosen = f", sites: {sites}" if sites else ""
        rounds = [method for method in methods if method != LEARNED]
        lines += [f"  - {{method: {method}, {bits}, towers: {towers}{chosen}}}" for method in rounds]
    lines += ["  - {method: rtn, bits: 8}", *(f"  - {{method: {one}}}" for one in methods if one == LEARNED)]
    return "\n".join([*lines, 'goals: ["size_bytes<100%"]', ""])


def run_case(model: str, case: str) -> None:
    """Compress, then print the bits of linear weights and every task before and after."""
    import penjing

    whole = model in GRIDS
    place = BUILD / f"low-{model if whole else 'whisper'}-{case.replace(', ', '-')}"
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    recipe = place.with_suffix(".yaml")
    recipe.write_text(recipe_of(GRIDS.get(model, WHISPER), METHODS[case]))
    name, data = ("seedling", "scenes") if whole else (model, "speech")
    found = penjing.compress(name, place, recipe=str(recipe), data=data)
    linear = [row for row in found["coverage"] if row["kind"] == "linear"]
    bits = 8 * sum(row["size_bytes"] for row in linear) / sum(row["parameters"] for row in linear)
    tasks = {
        name: {"source": metric["value"], "result": found["result"]["metrics"][name]["value"]}
        for name, metric in found["source"]["metrics"].items()
        if name.rpartition("/")[2] in TASKS
    }
    report = json.loads((place / "report.json").read_text(encoding="utf8"))
    changes = {name: change for name, change in report["changes"].items() if name in tasks}
    share = found["result"]["size_bytes"] / found["source"]["size_bytes"]
    print(
        json.dumps(
            {"bits": bits, "share of bytes": share, "tasks": tasks, "changes": changes, "steps": report["steps_took"]}
        )
    )


def main() -> None:
    """Run one case, or all of them one after the other."""
    model, *rest = sys.argv[1:]
    if rest[:1] == ["case"]:
        run_case(model, rest[1])
        return
    commands = {name: [sys.executable, __file__, model, "case", name] for name in rest or METHODS}
    found: dict[str, Any] = {name: runs[0] for name, runs in in_turns(commands, 1).items()}
    write(f"low_bits-{Path(model).name}", found)


if __name__ == "__main__":
    main()
