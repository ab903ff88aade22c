"""CLIP ViT-B/32 (random weights are fine for speed): image tower, batch 1, static int8 in both engines against
eager float32.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, ratios, spread, write

HERE = Path(__file__)
CALIBRATION_ROWS = 8


def build(folder: Path) -> dict[str, Any]:
    """Write a random CLIP ViT-B/32, compress it with the default recipe, export source and result; -> bytes and
    cosine.
    """
    import torch

    from penjing.artifact.manifest import model_bytes
    from penjing.data.source import load_dataset
    from penjing.models.open import open_model
    from penjing.models.outputs import tower_outputs
    from penjing.pipeline.graphs import export_graphs
    from penjing.pipeline.steps import Bench, Calibration, run_steps
    from penjing.recipe import default_recipe

    random_clip(folder / "clip")
    torch.set_num_threads(THREADS)
    model = open_model(str(folder / "clip"))
    parameters = model.source["parameters"]
    rows = load_dataset("pictures").rows
    batches = list(model.family.batches(model.settings, model.folder, rows[: 2 * CALIBRATION_ROWS]))
    calibration = Calibration(batches[:CALIBRATION_ROWS], batches[CALIBRATION_ROWS:], "bench")
    probe = model.family.probe(model.net, 1)
    before = tower_outputs(model, probe)
    export_graphs(model, folder / "source", "source", lambda *told: None)
    run_steps(
        model, default_recipe("dual-encoder"), calibration, Bench(folder / "steps"), lambda *told: None, resume=False
    )
    export_graphs(model, folder / "result", "result", lambda *told: None)
    after = tower_outputs(model, probe)
    cosines = [float(a @ b / ((a @ a) ** 0.5 * (b @ b) ** 0.5)) for a, b in zip(before, after, strict=True)]
    return {
        "bytes_ratio": model_bytes(folder / "result") / (4 * parameters),
        "cosine": dict(zip([tower.name for tower in model.towers if tower.blocks], cosines, strict=True)),
    }


def random_clip(folder: Path) -> None:
    """The architecture of openai/clip-vit-base-patch32 with random weights, a processor and a tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    vocabulary = {chr(97 + index): index for index in range(26)} | {"<|endoftext|>": 49407, "<unk>": 26}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=77
    ).save_pretrained(folder)


def time_one(system: str, folder: Path) -> None:
    """Median milliseconds of one system in this process."""
    import numpy as np

    from penjing.evaluate.speed import interleave

    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    if system == "eager":
        import torch
        from transformers import CLIPModel

        torch.set_num_threads(THREADS)
        net = CLIPModel.from_pretrained(folder / "clip").eval()
        values = torch.from_numpy(pixels)

        @torch.inference_mode()
        def run() -> object:
            return net.get_image_features(pixel_values=values)
    else:
        from penjing.runtimes.engine import choose_engine

        engine, _, which = system.partition("-")
        graph = choose_engine(engine, THREADS, cache=False).open(folder / which / "onnx" / "vision_model.onnx")

        def run() -> object:
            return graph({"pixel_values": pixels})

    samples = interleave({"one": run}, rounds=20, warm_up=3)["one"]
    print(json.dumps({"p50_ms": float(np.median(samples))}))


def main() -> None:
    """Build, then time every system in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        built = build(folder)
        systems = ["eager", "openvino-result", "onnxruntime-result", "openvino-source", "onnxruntime-source"]
        commands = {name: [sys.executable, str(HERE), name, scratch] for name in systems}
        found = in_turns(commands, rounds=3)
        p50_ms = {name: [run["p50_ms"] for run in runs] for name, runs in found.items()}
    pairs = {f"{name}/eager": ratios(p50_ms, name, "eager") for name in systems[1:]}
    write("clip", {**built, "p50_ms": {name: spread(values) for name, values in p50_ms.items()}, "ratios": pairs})


if __name__ == "__main__":
    time_one(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 1 else main()
