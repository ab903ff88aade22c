"""What structure gives: structure.py vit | clip | seedling [width]

vit: half of every feed-forward part of a ViT-B/16-shaped tower goes; p50 against the unpruned one, in both engines.
clip: half of the feed-forward parts and of the heads of CLIP ViT-B/32's image tower go, then static int8; p50 against
PyTorch eager float32 of the dense tower, and bytes. Weights are random: they decide nothing here but time.
seedling: a quarter of the width and a layer of each tower that has more than one go at once, without healing; the loss
of every task by each score. `seedling width`: half of the width alone, where scores can be told apart.
Everything is interleaved in one run; threads are stated. Graphs are kept in build/bench.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from timing import BUILD, THREADS, write

ROUNDS = 40
SCORES = ("magnitude", "energy", "taylor", "cross_modal")


def save_model(name: str, folder: Path) -> Path:
    """A checkpoint of random weights in the shape that papers know."""
    import transformers

    if name == "vit":
        config = transformers.ViTConfig(num_labels=1000)
        net: Any = transformers.ViTForImageClassification(config)
    else:
        vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                  "patch_size": 32, "image_size": 224}  # fmt: skip
        config = transformers.CLIPConfig(vision_config=vision, text_config={"num_hidden_layers": 2})
        net = transformers.CLIPModel(config)
    net.save_pretrained(folder)
    return folder


def exported(model: Any, folder: Path) -> Path:
    """The graph of the image side."""
    from penjing.artifact.export import export_component

    folder.mkdir(parents=True, exist_ok=True)
    component = next(one for one in model.family.components(model.net) if "pixel_values" in one.inputs)
    return export_component(component, folder)


def apply(model: Any, steps: list[dict[str, Any]]) -> Any:
    """Run steps on a model, fed with noise."""
    from penjing.methods import Aids, make
    from penjing.models.open import refreshed
    from penjing.recipe import Step

    batches = [model.family.probe(model.net, seed) for seed in range(8)]
    for settings in steps:
        method = make(settings["method"], {k: v for k, v in settings.items() if k not in ("method", "towers")})
        step = Step(method, tuple(settings.get("towers", ())))
        with tempfile.TemporaryDirectory() as scratch:
            for _ in method.apply_all(step.targets(model.towers), batches, Aids(model, batches[:2], 0, Path(scratch))):
                pass
        model = refreshed(model) if method.restructures else model
    return model


def milliseconds(runs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Median and quartiles of each, in turns."""
    from penjing.evaluate.speed import interleave

    found = {}
    for name, times in interleave(runs, rounds=ROUNDS, warm_up=3).items():
        low, middle, high = statistics.quantiles(times, n=4)
        found[name] = {"p50_ms": middle, "low_ms": low, "high_ms": high}
    return found


def vision(name: str, steps: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Each variant of a tower in both engines, and eager PyTorch beside them."""
    import torch

    from penjing.models.open import open_model
    from penjing.runtimes.engine import choose_engine

    torch.set_num_threads(THREADS)
    root = BUILD / "structure" / name
    source = root / "source" if (root / "source").exists() else save_model(name, root / "source")
    paths = {
        key: kept(root / key) or exported(apply(open_model(str(source)), some), root / key)
        for key, some in steps.items()
    }
    sizes = {key: path.stat().st_size for key, path in paths.items()}
    model = open_model(str(source))
    component = next(one for one in model.family.components(model.net) if "pixel_values" in one.inputs)
    pixels = component.inputs["pixel_values"][:1].contiguous()
    runs: dict[str, Any] = {"eager": partial(eager, component.module, pixels)}
    for engine_name in ("openvino", "onnxruntime"):
        engine = choose_engine(engine_name, THREADS, cache=False)
        for key, path in paths.items():
            runs[f"{engine_name} {key}"] = partial(engine.open(path), {"pixel_values": pixels.numpy()})
    return {"threads": THREADS, "size_bytes": sizes, "times": milliseconds(runs)}


def kept(folder: Path) -> Path | None:
    """The graph of an earlier run."""
    return next(folder.glob("*.onnx"), None)


def eager(module: Any, pixels: Any) -> Any:
    """One picture through PyTorch."""
    import torch

    with torch.no_grad():
        return module(pixels)


def seedling(share: float, drop: int) -> dict[str, Any]:
    """Loss of every task once a share of the width, and so many layers of each tower, are gone, by score."""
    import penjing
    from penjing.errors import GoalNotMet

    found = {}
    for score in SCORES:
        width = {"method": "width", "neurons": share, "score": score, "towers": ["encoder", "connector", "decoder"]}
        depth = {"method": "depth", "drop": drop, "towers": ["image", "audio", "fusion", "decoder"]}
        steps = [width, depth] if drop else [width]
        with tempfile.TemporaryDirectory() as scratch:
            recipe = Path(scratch) / "recipe.yaml"
            recipe.write_text(json.dumps({"version": 1, "steps": steps}), encoding="utf8")
            try:
                document = penjing.compress(
                    "seedling", Path(scratch) / "out", data="scenes", recipe=recipe, goals=["size_bytes<=99%"]
                )
            except GoalNotMet as refused:
                document = refused.document
        metrics = {
            side: {name: one["value"] for name, one in document[side]["metrics"].items()}
            for side in ("source", "result")
        }
        found[score] = {
            **metrics,
            "size_bytes": document["result"]["size_bytes"],
            "p50_ms": document["result"]["p50_ms"],
        }
    return found


def main() -> None:
    """Run one of the cases."""
    match sys.argv[1:]:
        case ["vit"]:
            half = {"method": "width", "neurons": 0.5, "score": "magnitude", "towers": ["image"]}
            write("structure_vit", vision("vit", {"dense": [], "width 50%": [half]}))
        case ["clip"]:
            half = {"method": "width", "neurons": 0.5, "heads": 0.5, "score": "magnitude", "towers": ["image"]}
            int8 = {"method": "static_int8", "towers": ["image"]}
            steps = {"dense": [], "width 50%": [half], "dense int8": [int8], "width 50% int8": [half, int8]}
            write("structure_clip", vision("clip", steps))
        case ["seedling"]:
            write("structure_seedling", seedling(0.25, 1))
        case ["seedling", "width"]:
            write("structure_seedling_width", seedling(0.5, 0))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
