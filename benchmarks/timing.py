"""Run systems in fresh processes, in turns, and sum up what they took."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

THREADS = 2
BUILD = Path("build/bench")


def clips(shortest_s: float = 3.0, longest_s: float = 12.0) -> list[dict[str, str]]:
    """All built-in judge clips of these lengths, shortest first, as {file, text}."""
    from penjing.data.audio import audio_length

    folder = Path(str(files("penjing"))) / "data" / "builtin" / "speech"
    found = []
    for line in (folder / "metadata.jsonl").read_text(encoding="utf8").splitlines():
        row = json.loads(line)
        frames, rate_hz = audio_length(folder / row["file_name"])
        if row["part"] == "judge" and shortest_s <= frames / rate_hz <= longest_s:
            found.append((frames / rate_hz, {"file": str(folder / row["file_name"]), "text": row["text"]}))
    return [clip for _, clip in sorted(found, key=lambda pair: pair[0])]


def in_turns(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Any]]:
    """Run every command once per round, the order rotating; each prints a JSON document last."""
    results: dict[str, list[Any]] = {name: [] for name in commands}
    names = list(commands)
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            done = subprocess.run(commands[name], capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
            results[name].append(last_document(done.stdout))
            print(f"round {turn + 1}: {name}", file=sys.stderr)
    return results


def last_document(printed: str) -> Any:
    """Read the JSON object that stands last, on one line or on many; a peer may log before it."""
    return json.loads(printed[printed.rfind("\n{") + 1 :])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def ratios(results: Mapping[str, Sequence[float]], name: str, base: str) -> dict[str, float]:
    """Ratio of two systems, round by round."""
    return spread([one / other for one, other in zip(results[name], results[base], strict=True)])


def write(name: str, document: Mapping[str, Any]) -> None:
    """Keep a result as JSON and print it."""
    from penjing.pipeline.machine import describe_machine

    BUILD.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": describe_machine(THREADS), **document}, indent=2, ensure_ascii=False)
    (BUILD / f"{name}.json").write_text(text + "\n", encoding="utf8")
    print(text)
