"""The demo: the seedling through the very commands that a user types, compressed, measured, used."""

from __future__ import annotations

import shlex
import time

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


def run_demo(out: str, threads: int | None = None, *, as_json: bool = False) -> None:
    """Run the commands one after the other; the first that fails ends the demo with its exit code."""
    from penjing.cli.run import run

    start = time.perf_counter()
    options = ["--threads", str(threads)] if threads else []
    commands = [[*command, *options] for command in demo_commands(out)]
    if as_json:
        commands = [[*command, "--json"] for command in commands if command[0] == "compress"]
    for command in commands:
        if not as_json:
            print(f"\n$ penjing {shlex.join(command)}", flush=True)
        code = run(command)
        if code:
            raise typer.Exit(code)
    if not as_json:
        print(f"\nreport: {out}/report.html   ({time.perf_counter() - start:.0f} s in all)")
