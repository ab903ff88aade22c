"""The demo: the seedling through the very commands that a user types, compressed, measured, used."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import typer

from penjing.data.scenes import FOLDER


def demo_commands(out: str) -> list[list[str]]:
    """Compress the seedling into `out`, then ask, caption and transcribe with the result."""
    picture, sounds = str(FOLDER / "images" / "scene-004.png"), FOLDER / "speech"
    return [
        ["inspect", "seedling"],
        ["compress", "seedling", "-o", out, "--data", "scenes", "--overwrite"],
        ["caption", out, picture],
        ["ask", out, picture, "how many things are there?"],
        ["ask", out, picture, str(sounds / "scene-004-question.ogg")],
        ["transcribe", out, str(sounds / "scene-004-question.ogg")],
    ]


def run_demo(out: Path, threads: int | None = None) -> None:
    """Run the commands one after the other; the first that fails ends the demo with its exit code."""
    from penjing.cli.run import run

    start = time.perf_counter()
    for command in demo_commands(str(out)):
        options = ["--threads", str(threads)] if threads else []
        print(f"\n$ penjing {shlex.join([*command, *options])}", flush=True)
        code = run([*command, *options])
        if code:
            raise typer.Exit(code)
    print(f"\nreport: {out}/report.html   ({time.perf_counter() - start:.0f} s in all)")
