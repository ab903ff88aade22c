"""What each loss of distillation gives a small student at equal steps: distillation.py [CASE…]

The student keeps a layer of three in the towers that see and hear and one of two in fusion and decoder, and 0.7 of
their widths. It learns for 150 steps of 16 items of 600 scenes that nobody is judged by: from the labels alone, or from
the teacher by some losses. Each case is one run of `compress` in a fresh process, judged in the engine on 300 scenes.
"""

from __future__ import annotations

import json
import shutil
import sys

from timing import BUILD, in_turns, write

STUDENT = """version: 1
steps:
  - {method: depth, drop: 2, towers: [image, audio], by: influence}
  - {method: depth, drop: 1, towers: [fusion, decoder], by: influence}
  - {method: width, neurons: 0.3, heads: 0.2, towers: [encoder, connector, decoder]}
"""
LEARNS = '  - {{method: distill, steps: 150, rate: 0.001, data: "scenes-train:600", {}}}\n'
CASES = {
    "not healed": "",
    "task": "task_share: 1",
    "features and affinity": "task_share: 0.1, logits: 0",
    "logits": "task_share: 0.1, features: 0, affinity: 0",
    "all": "task_share: 0.1",
}
TASKS = ("wer", "accuracy", "recall_at_1", "truth")


def run_case(case: str) -> None:
    """Compress, and print every task before and after."""
    import penjing

    place = BUILD / f"distillation-{case.replace(' ', '-')}"
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    recipe = place.with_suffix(".yaml")
    learns = LEARNS.format(CASES[case]) if CASES[case] else ""
    recipe.write_text(f'{STUDENT}{learns}goals: ["size_bytes<100%"]\n', encoding="utf8")
    found = penjing.compress("seedling", place, recipe=str(recipe), data="scenes")
    metrics = {side: found[side]["metrics"] for side in ("source", "result")}
    tasks = {
        name: {side: one[name]["value"] for side, one in metrics.items()}
        for name in metrics["source"]
        if name.rpartition("/")[2].endswith(TASKS)
    }
    print(json.dumps(tasks))


def main() -> None:
    """Run one case, or all of them one after the other."""
    if sys.argv[1:2] == ["case"]:
        run_case(sys.argv[2])
        return
    commands = {name: [sys.executable, __file__, "case", name] for name in sys.argv[1:] or CASES}
    write("distillation", {name: runs[0] for name, runs in in_turns(commands, 1).items()})


if __name__ == "__main__":
    main()
