"""Run as a program: everything that the shop does, in a process that could import torch and must not.

python shop_run.py SPEECH_ARTIFACT PICTURE_ARTIFACT SOUNDS PICTURES MODEL SEEDLING_ARTIFACT
Prints one JSON document: which forbidden packages each step imported, and what the commands said without the workshop.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator

FORBIDDEN = ("torch", "transformers", "onnx", "onnxscript", "safetensors", "datasets", "accelerate")
found: dict[str, list[str]] = {}
said: dict[str, tuple[int, str]] = {}


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Note what was imported up to the end of this step."""
    yield
    found[name] = [package for package in FORBIDDEN if package in sys.modules]


def command(*arguments: str) -> tuple[int, str]:
    """Run a command; returns its code and what it printed as its error."""
    from penjing.cli.run import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    return code, "\n".join(line for line in err.getvalue().splitlines() if not line.startswith("["))


def open_shop(speech: str, pictures: str, sounds_folder: str, pictures_folder: str, seedling: str) -> None:
    """What a customer does."""
    with step("import penjing"):
        import penjing
    with step("transcribe"):
        import numpy as np

        runner = penjing.load(speech, warm_up=False)
        found = runner.transcribe(np.zeros(16000, np.float32), "en")
        assert (found.text, found.language) == ("", "en")
    with step("embed"):
        runner = penjing.load(pictures)
        scores = runner.embed_images([f"{pictures_folder}/picture-000.png"]) @ runner.embed_texts(["a star"]).T
        assert scores.shape == (1, 1)
    commands = {
        "--help": ["--help"],
        "penjing transcribe": ["transcribe", speech, f"{sounds_folder}/0.wav"],
        "penjing ask": ["ask", seedling, f"{pictures_folder}/picture-000.png", "how many red stars are there?"],
        "penjing caption": ["caption", seedling, f"{pictures_folder}/picture-000.png"],
        "penjing evaluate": ["evaluate", speech, "--data", sounds_folder, "--json"],
        "penjing evaluate --against": ["evaluate", pictures, "--data", pictures_folder, "--against", pictures],
        "penjing inspect": ["inspect", speech],
        "penjing report": ["report", pictures],
    }
    for name, arguments in commands.items():
        with step(name):
            code, err = command(*arguments)
            assert code == 0, err


def close_workshop(speech: str, sounds_folder: str, pictures_folder: str, model: str) -> None:
    """What is said where the packages of the extras are not installed."""
    from penjing.extras import EXTRAS

    for name in [name for name in sys.modules if name.startswith("penjing")]:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(package for packages in EXTRAS.values() for package in packages))  # type: ignore[arg-type]
    for arguments in (
        ["recipes"],
        ["methods"],
        ["inspect", model],
        ["compress", model, "-o", "out"],
        ["evaluate", model, "--data", sounds_folder],
        ["report", speech],
        ["transcribe", speech, f"{sounds_folder}/0.wav", "--engine", "openvino"],
        ["caption", "seedling", f"{pictures_folder}/picture-000.png"],
    ):
        said[arguments[0]] = command(*arguments)
    said["shop"] = command("evaluate", speech, "--data", sounds_folder)


if __name__ == "__main__":
    open_shop(*sys.argv[1:5], sys.argv[6])
    close_workshop(sys.argv[1], *sys.argv[3:6])
    print(json.dumps({"found": found, "said": said}))
