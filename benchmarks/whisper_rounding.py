"""What int8 in Whisper's encoder does to what the decoder would say, on human speech that nothing was calibrated on.

usage: whisper_rounding.py MODEL --data FOLDER... [--form NAME]...

The folders are those of held_out_data.py, or any folder of clips with transcripts. The encoder is compressed in every
form, calibrated and validated as `penjing compress --data speech` does it; the decoder stays float and reads the
transcripts (teacher forcing). Given are, in PyTorch with inputs rounded as the engines round them, the relative error
of the encoder's output, the mean divergence KL(source || result) of the decoder's predictions, and the share of tokens
whose likeliest prediction changes. No engine and no search for words adds its noise, so small differences show that
word error rates on a hundred clips cannot.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timing import write

DYNAMIC = "{method: dynamic_int8, towers: [encoder], max_error: 0.05}"
STATIC = "{method: static_int8, towers: [encoder], max_error: %s}"
RTN = "{method: rtn, bits: 8, towers: [encoder]}"
FORMS: Mapping[str, Sequence[str]] = {
    "rtn": [RTN],
    "dynamic_int8": [DYNAMIC, RTN],
    "dynamic_int8, all": [DYNAMIC.replace("0.05", "100"), RTN],
    "static_int8 0.04": [STATIC % 0.04, RTN],
    "static_int8 0.06": [STATIC % 0.06, RTN],
    "static_int8 0.06, dynamic": [STATIC % 0.06, DYNAMIC.replace("0.05", "100"), RTN],
    "commit 0f339f2": [
        "{method: static_int8, towers: [encoder], max_error: 0.1, margin: 0, augment: false}",
        RTN,
    ],
}
"""Steps by form; at 0f339f2 the clips of `speech` alone calibrated."""


def compressed(name: str, form: str, scratch: Path) -> Any:
    """Run the steps of a form on a model; layers of `dynamic_int8` round in PyTorch too."""
    from penjing.data.source import load_dataset
    from penjing.data.split import split
    from penjing.layers.dynamic import DynamicConv, DynamicLinear
    from penjing.models.open import open_model
    from penjing.pipeline.material import RangeRows, range_material
    from penjing.pipeline.steps import Bench, Calibration, run_steps
    from penjing.recipe import parse_recipe
    from penjing.values import silent

    parts, model = split(load_dataset("speech")), open_model(name)
    builtin = form != "commit 0f339f2"
    material = range_material(
        "speech-seq2seq", model.settings, parts.calibrate, (*parts.select, *parts.judge), builtin=builtin
    )
    rows = RangeRows(material, "speech-seq2seq", 0, scratch / "augmented")
    calibration = Calibration((), (), form, (parts.calibrate, parts.select), rows).read_by(model)
    recipe = parse_recipe("version: 1\nsteps:\n" + "\n".join(f"  - {step}" for step in FORMS[form]), form)
    model, _ = run_steps(model, recipe, calibration, Bench(scratch / "steps"), silent)
    for site in model.towers[0].sites.values():
        if isinstance(site.module, (DynamicLinear, DynamicConv)):
            site.module.rounds = True
    return model


@torch.no_grad()
def predictions(model: Any, folders: Mapping[str, Sequence[Any]]) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Folder -> outputs of the encoder, and log probabilities (tokens, vocabulary) of the decoder, clip by clip."""
    from penjing.models.outputs import flat_output

    encoder, decoder = (next(tower for tower in model.towers if tower.name == name) for name in ("encoder", "decoder"))
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    for folder, rows in folders.items():
        heard, read = found.setdefault(folder, ([], []))
        for batch in model.family.batches(model.settings, model.folder, rows):
            heard.append(flat_output(encoder.run(batch)))
            output = decoder.run(batch)
            logits = output[0] if isinstance(output, (tuple, list)) else getattr(output, "logits", output)
            read.append(torch.log_softmax(logits.float(), -1).flatten(0, -2))
    return found


def compare(before: tuple[list[Tensor], list[Tensor]], after: tuple[list[Tensor], list[Tensor]]) -> dict[str, float]:
    """Error of the encoder, divergence and share of changed predictions over the clips of a folder."""
    from penjing.tensor.grid import relative_error

    errors = [relative_error(want, found) for want, found in zip(before[0], after[0], strict=True)]
    pairs = list(zip(before[1], after[1], strict=True))
    divergences = torch.cat([(want.exp() * (want - found)).sum(-1) for want, found in pairs])
    changed = torch.cat([want.argmax(-1) != found.argmax(-1) for want, found in pairs])
    return {
        "error": sum(errors) / len(errors),
        "kl": float(divergences.mean()),
        "changed": float(changed.float().mean()),
    }


def main() -> None:
    """Measure every form, print a table and write the numbers."""
    from held_out import read_clips
    from penjing.data.source import load_dataset
    from penjing.models.open import open_model

    parser = argparse.ArgumentParser(description="What int8 in Whisper's encoder does to the decoder's predictions.")
    parser.add_argument("model")
    parser.add_argument("--data", nargs="+", action="extend", required=True, metavar="FOLDER")
    parser.add_argument("--form", action="append", choices=FORMS, help="may be given several times; all by default")
    arguments = parser.parse_args()
    read_clips(arguments.data)  # refuses rows that are no recordings with transcripts
    folders = {Path(name).name: load_dataset(name).rows for name in arguments.data}
    source = predictions(open_model(arguments.model), folders)
    document: dict[str, Any] = {}
    for form in arguments.form or FORMS:
        with tempfile.TemporaryDirectory() as scratch:
            result = predictions(compressed(arguments.model, form, Path(scratch)), folders)
        measured = {folder: compare(source[folder], result[folder]) for folder in folders}
        mean = {key: sum(row[key] for row in measured.values()) / len(measured) for key in ("error", "kl", "changed")}
        document[form] = {"mean": mean, **measured}
        line = "  ".join(f"{folder} {row['kl']:.4f}, {row['changed']:.1%}" for folder, row in measured.items())
        print(f"{form:26} error {mean['error']:.3f}  kl {mean['kl']:.4f}  {line}", flush=True)
    write(f"whisper-rounding-{Path(arguments.model).name}", document)


if __name__ == "__main__":
    main()
