"""Compress the textbook CNN: prune half, heal by a plain fine-tune, round to int8; every step is measured.

    python examples/cifar10.py TRAIN TEST [--epochs N]

TRAIN and TEST are folders, or zip files of folders, of pictures in a folder for each class, such as CIFAR-10's. Three
rows: half the channels and neurons gone (`width`), healed by training as before or, in as many steps, by what
it was itself (`distill`); and half the weights masked (`magnitude`, ranked over all layers).
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import penjing
from penjing.artifact.export import export_component
from penjing.evaluate.speed import interleave, latency
from penjing.models.anything import model_around
from penjing.recipe import read_recipe
from penjing.runtimes.engine import Engine, choose_engine

BATCH, CALIBRATED = 128, 512
LESSON, PASSES = 32, 5
"""Pictures that are learned from together, and how often each is mirrored and moved anew for the teacher to look at."""
RECIPES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "width 50%": (
        [{"method": "width", "channels": 0.5, "neurons": 0.5, "multiple": 8, "score": "energy"}],
        [{"method": "static_int8"}],
    ),
    "mask 50%": (
        [{"method": "magnitude", "share": 0.5, "scope": "global", "norm": "l1"}],
        [{"method": "rtn", "bits": 8}],
    ),
}


class TextbookCNN(nn.Module):
    """Two convolutions with pooling, two fully connected layers. pictures (batch, 3, 32, 32) -> logits (batch, 10)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 8 * 8, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, classes)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Say how well each class fits."""
        logits: Tensor = self.classifier(self.features(pictures))
        return logits


def read_pictures(place: Path) -> tuple[Tensor, Tensor]:
    """All pictures (n, 3, 32, 32) from 0 to 1, and the numbers of their classes (n,), classes in order of name."""
    found: list[tuple[str, bytes]] = []
    if place.is_dir():
        found = [(path.parent.name, path.read_bytes()) for path in sorted(place.rglob("*")) if path.is_file()]
    else:
        with zipfile.ZipFile(place) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith((".png", ".jpg", ".jpeg")))
            found = [(Path(name).parent.name, archive.read(name)) for name in names]
    classes = sorted({label for label, _ in found})
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((32, 32))) for _, data in found]
    pictures = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (pictures - 0.47) / 0.25, torch.tensor([classes.index(label) for label, _ in found])


def batches_of(pictures: Tensor, labels: Tensor, source: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in a random order, half of the pictures mirrored, all moved by up to four pixels."""
    for some in torch.randperm(len(labels), generator=source).split(BATCH):
        shown = pictures[some]
        mirrored = torch.rand(len(some), 1, 1, 1, generator=source) < 0.5
        shown = torch.where(mirrored, shown.flip(-1), shown)
        down, right = torch.randint(0, 9, (2,), generator=source).tolist()
        shown = nn.functional.pad(shown, (4, 4, 4, 4))[:, :, down : down + 32, right : right + 32]
        yield shown, labels[some]


def train(net: nn.Module, pictures: Tensor, labels: Tensor, epochs: int, rate: float = 2e-3) -> None:
    """AdamW with a cosine schedule: the plain training that also heals."""
    source = torch.Generator().manual_seed(0)
    for values in net.parameters():
        values.requires_grad_(True)
    steps = epochs * -(-len(labels) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for shown, wanted in batches_of(pictures, labels, source):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(shown), wanted).backward()
            optimizer.step()
            schedule.step()
    net.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(net: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures whose best class is right."""
    right = [(net(shown).argmax(1) == wanted).sum() for shown, wanted in zip(pictures.split(250), labels.split(250),
                                                                              strict=True)]  # fmt: skip
    return float(sum(right)) / len(labels)


def milliseconds(graphs: dict[str, Path], picture: Tensor, engine: Engine) -> dict[str, float]:
    """Median time of one picture through each graph, in turns."""
    opened = {name: engine.open(path) for name, path in graphs.items()}
    runs = {name: partial(graph, {"pictures": picture.numpy()}) for name, graph in opened.items()}
    return {name: latency(times, engine.threads).p50_ms for name, times in interleave(runs, rounds=200).items()}


def take_through(name: str, net: nn.Module, data: Any, epochs: int, folder: Path) -> dict[str, Any]:
    """Prune, heal, round; accuracy and bytes after each, graphs for the clock."""
    (pictures, labels), (shown, wanted) = data
    prune, code = RECIPES[name]
    metric: Callable[[nn.Module], float] = partial(accuracy, pictures=shown, labels=wanted)
    batches = [*pictures[:CALIBRATED].split(64)]
    pruned = penjing.compress(net, prune, batches=batches, metric=metric)
    healed = copy.deepcopy(pruned.module)
    for layer in (layer for layer in healed.modules() if isinstance(layer, nn.Dropout)):
        layer.p /= 2  # a network of half the size forgets less by heart
    train(healed, pictures, labels, epochs)
    whole = penjing.compress(healed, code, batches=batches, metric=metric)
    return {
        "pruned": {"accuracy": pruned.after, "size_bytes": pruned.size_bytes},
        "healed": {"accuracy": whole.before, "size_bytes": pruned.size_bytes},
        "int8": {"accuracy": whole.after, "size_bytes": whole.size_bytes},
        "graphs": {"pruned": pruned.export(folder / f"{name}-pruned"), "int8": whole.export(folder / f"{name}-int8")},
    }


def lessons(pictures: Tensor, labels: Tensor) -> list[dict[str, Tensor]]:
    """What a teacher is asked once and a student learns from: pictures as training shows them, with their classes."""
    source = torch.Generator().manual_seed(0)
    shown = [batch for _ in range(PASSES) for batch in batches_of(pictures, labels, source)]
    parts = [zip(some.split(LESSON), wanted.split(LESSON), strict=True) for some, wanted in shown]
    return [{"pictures": some.clone(), "labels": wanted} for part in parts for some, wanted in part
            if len(wanted) == LESSON]  # fmt: skip


def distilled(net: nn.Module, data: Any, epochs: int, folder: Path) -> dict[str, Any]:
    """Prune, learn from what the network was, round: the recipe `cifar-cnn`, in the steps of the plain training."""
    (pictures, labels), (shown, wanted) = data
    taken = epochs * -(-len(labels) // BATCH)
    recipe = read_recipe("cifar-cnn").as_json()["steps"]
    for step in (step for step in recipe if step["method"] == "distill"):
        step |= {"steps": taken, "check_every": max(1, taken // 8)}
    metric: Callable[[nn.Module], float] = partial(accuracy, pictures=shown, labels=wanted)
    whole = penjing.compress(net, recipe, batches=lessons(pictures, labels), metric=metric)
    graph = whole.export(folder / "distilled-int8")
    return {"int8": {"accuracy": whole.after, "size_bytes": whole.size_bytes}, "graphs": {"int8": graph}}


def main() -> None:
    """Train, take through both rows, print what each step cost and gave."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("train", type=Path)
    arguments.add_argument("test", type=Path)
    arguments.add_argument("--epochs", type=int, default=16, help="of healing; training takes half as many more")
    options = arguments.parse_args()
    torch.manual_seed(0)
    data = read_pictures(options.train), read_pictures(options.test)
    net = TextbookCNN(int(data[0][1].max()) + 1)
    train(net, *data[0], 3 * options.epochs // 2)
    source_bytes = sum(4 * values.numel() for values in net.parameters())
    found: dict[str, Any] = {"source": {"accuracy": accuracy(net, *data[1]), "size_bytes": source_bytes}}
    engine = choose_engine("auto", None, cache=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (component,) = model_around(net, {"pictures": data[0][0][:2]}).family.components(net)
        graphs = {"source": export_component(component, folder)}
        for name in RECIPES:
            found[name] = take_through(name, net, data, options.epochs, folder)
        found["width 50%, distilled"] = distilled(net, data, options.epochs, folder)
        for name in (name for name in found if "graphs" in found[name]):
            graphs |= {f"{name}, {step}": path for step, path in found[name].pop("graphs").items()}
        found["p50_ms"] = milliseconds(graphs, data[1][0][:1], engine)
    found["engine"] = {"name": engine.name, "threads": engine.threads}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
