"""Token merging: a ViT-B/16 of random weights at 224 px, 197 → 101 and → 41 tokens. usage: tokens.py [ROUNDS]

Median milliseconds of one picture in both engines, plain and merged, float32 and static int8, every system in a process
of its own, in turns. `tokens.py whisper ARTIFACT…` times the encoders of artifacts of one Whisper at equal lengths of
clip, the first being the straight path. `tokens.py vlm [ROUNDS]` times what a model of SmolVLM-256M's widths, of random
weights and fewer layers, sees and reads of a picture with 64 tokens a tile, and with 32. `tokens.py words [QUESTIONS]`
counts how many questions the seedling answers right where its fusion reads fewer tokens of a picture.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, ratios, spread, write

HERE = Path(__file__)
ENGINES = ("openvino", "onnxruntime")
MERGED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "plain": [],
    "101 tokens": [("tokens", {"r": 8})],
    "41 tokens": [("tokens", {"r": 13})],
}
INT8 = ("static_int8", {"max_error": 9.0})
"""Every site in int8: random weights are there to be timed, not to be right."""
FRAMES = (600, 1200)
"""Mel frames of the clips that encoders are timed on: 6 and 12 seconds."""

KEPT = {"64 tokens": 64, "32 tokens": 32}
TILES = {"one tile": 1, "13 tiles": 13}
"""A picture looked at as a whole, and one of 4:3 cut into 4 × 3 tiles besides."""
UNSEEN, LONGEST = 10_000_000, 12
"""First seed of scenes to ask about, and the longest answer in tokens."""
AROUND, WORDS = 2, 20
"""Tokens around each tile, and of a question in its template."""
LAYERS = {"vision": 2, "text": 8}
"""Of 12 and of 30: ratios hardly depend on them, minutes of export do."""


def build(folder: Path) -> None:
    """Export every variant to a folder of its own."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from penjing.artifact.export import export_component
    from penjing.methods import Aids, make
    from penjing.models.open import open_model, refreshed

    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(num_labels=1000)).save_pretrained(folder / "source")
    for name, steps in MERGED.items():
        for ending, more in (("float32", []), ("int8", [INT8])):
            model = open_model(str(folder / "source"))
            batches = [model.family.probe(model.net, seed) for seed in range(3)]
            for method, settings in [*steps, *more]:
                tower = next(tower for tower in model.towers if tower.blocks)
                make(method, settings).run(tower, batches, Aids(model, batches[:1], 0, folder))
                model = refreshed(model)
            (folder / f"{name}, {ending}").mkdir()
            (component,) = model.family.components(model.net)
            export_component(component, folder / f"{name}, {ending}")


def time_one(graph: Path, engine: str, shape: list[int]) -> None:
    """Median milliseconds of a graph on noise of this shape, in this process."""
    import numpy as np

    from penjing.evaluate.speed import interleave
    from penjing.runtimes.engine import choose_engine

    opened = choose_engine(engine, THREADS, cache=False).open(graph)
    name = "pixel_values" if len(shape) == 4 else "input_features"
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    samples = interleave({"one": lambda: opened({name: values})}, rounds=20, warm_up=3)["one"]
    print(json.dumps({"p50_ms": float(np.median(samples))}))


def build_talker(folder: Path) -> None:
    """Export what sees, with all tokens and with half of them, and what reads."""
    import torch
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    from penjing.artifact.export import export_component
    from penjing.methods import Aids, make
    from penjing.models.open import open_model

    torch.manual_seed(0)
    width = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    eye = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 512}
    config = SmolVLMConfig(
        text_config={"model_type": "llama", **width, "num_hidden_layers": LAYERS["text"], "vocab_size": 49280},
        vision_config={"patch_size": 16, **eye, "num_hidden_layers": LAYERS["vision"]},
        scale_factor=4, image_token_id=49190, tie_word_embeddings=True,
    )  # fmt: skip
    SmolVLMForConditionalGeneration(config).save_pretrained(folder / "source")
    model = open_model(str(folder / "source"))
    for name, keep in KEPT.items():
        (folder / name / "onnx").mkdir(parents=True)
        tower = next(tower for tower in model.towers if tower.role == "connector")
        if keep != max(KEPT.values()):
            make("tokens", {"keep": keep}).run(tower, [], Aids(model, [], 0, folder))
        seeing, _, reading = model.family.components(model.net)
        export_component(seeing, folder / name / "onnx")
    export_component(reading, folder / name / "onnx")
    (folder / name / "settings.json").write_text(json.dumps(dict(model.settings)))


def time_talker(folder: Path, engine: str, tokens: int) -> None:
    """Median milliseconds of reading so many tokens before the first is written; of seeing a tile if there are none."""
    import numpy as np

    from penjing.evaluate.speed import interleave
    from penjing.runtimes.decoder import open_decoder
    from penjing.runtimes.engine import choose_engine

    chosen, dice = choose_engine(engine, THREADS, cache=False), np.random.default_rng(0)
    if tokens:
        settings = json.loads((folder / "settings.json").read_text())
        decoder = open_decoder(folder, settings, chosen, "decoder_model_merged")
        embeddings = dice.normal(size=(tokens, 576)).astype(np.float32)

        def run() -> None:
            decoder.start({})
            decoder.step(embeddings)
    else:
        graph = chosen.open(folder / "onnx" / "vision_encoder.onnx")
        pixels = dice.normal(size=(1, 1, 3, 512, 512)).astype(np.float32)
        seen = {"pixel_values": pixels, "pixel_attention_mask": np.ones((1, 1, 512, 512), np.bool_)}

        def run() -> None:
            graph(seen)

    samples = interleave({"one": run}, rounds=8, warm_up=2)["one"]
    print(json.dumps({"p50_ms": float(np.median(samples))}))


def talkers(rounds: int) -> None:
    """Seeing a tile, and reading pictures of one tile and of several, in both engines."""
    with tempfile.TemporaryDirectory() as scratch:
        build_talker(Path(scratch))
        last = Path(scratch) / [*KEPT][-1]
        found: dict[str, Any] = {}
        for engine in ENGINES:
            seen = {name: (Path(scratch) / name, 0) for name in KEPT}
            read = {
                what: {name: (last, tiles * (count + AROUND) + WORDS) for name, count in KEPT.items()}
                for what, tiles in TILES.items()
            }
            for what, systems in {"seeing a tile": seen, **read}.items():
                commands = {
                    name: [sys.executable, str(HERE), "talker", str(folder), engine, str(tokens)]
                    for name, (folder, tokens) in systems.items()
                }
                p50_ms = {name: [run["p50_ms"] for run in runs] for name, runs in in_turns(commands, rounds).items()}
                found[f"{what}, {engine}"] = {
                    "p50_ms": {name: spread(values) for name, values in p50_ms.items()},
                    "ratio": ratios(p50_ms, "32 tokens", "64 tokens"),
                }
    write("tokens-vlm", {"layers": LAYERS, **found})


def halved(values: Any, keep: int) -> Any:
    """Merge as many as a round can, until `keep` are left."""
    import torch

    from penjing.tensor.merge import match_all, merge

    sizes = torch.ones_like(values[:, :, 0])
    while (tokens := values.shape[1]) > keep:
        values, sizes = merge(values, sizes, match_all(values, min(tokens - keep, tokens // 2)))
    return values


def squares(values: Any, keep: int) -> Any:
    """Means over neighbours in the grid: two beside each other, or two rows of two."""
    batch, tokens, width = values.shape
    side, down = int(tokens**0.5), tokens // keep // 2
    return values.view(batch, side // down, down, side // 2, 2, width).mean((2, 4)).flatten(1, 2)


def words(questions: int) -> None:
    """Share of questions about unseen scenes that the seedling answers right, by how its image tokens were reduced."""
    import torch

    from penjing.data.image import ImageFrontEnd
    from penjing.data.text import TextFrontEnd, open_tokenizer
    from penjing.models.open import open_model
    from penjing.scenes.questions import questions as asked_of
    from penjing.scenes.scene import draw, imagine
    from penjing.tensor.merge import match_all, merge_down

    model = open_model("seedling")
    net: Any = model.net
    see, path = ImageFrontEnd(model.settings["image"]), model.folder / "tokenizer.json"
    read, spell = TextFrontEnd(path, model.settings["text"]), open_tokenizer(path)
    start, end = net.config.task_token_ids["answer"], net.config.eos_token_id
    ways = {
        "rounds of a quarter": lambda values, keep: merge_down(values, keep, match_all),
        "rounds of half": halved,
        "squares": squares,
    }
    cases = [("all", None, 16), *((name, way, keep) for keep in (8, 4) for name, way in ways.items())]
    right: dict[str, int] = {}
    for seed in range(UNSEEN, UNSEEN + questions):
        scene = imagine(seed)
        (question,) = asked_of(scene, 1, seed)
        with torch.no_grad():
            image = net.see(torch.from_numpy(see(draw(scene)))[None])
            text = net.read(torch.from_numpy(read([question.text])["input_ids"]))
            for name, way, keep in cases:
                shown = image._replace(tokens=way(image.tokens, keep)) if way else image
                memory, mask = net.fuse([shown, text])
                written = [start]
                while len(written) < LONGEST and (len(written) == 1 or written[-1] != end):
                    written.append(int(net.decoder(torch.tensor([written]), memory, mask)[0][0, -1].argmax()))
                said = spell.decode([token for token in written[1:] if token != end]).strip()
                key = f"{keep} tokens, {name}"
                right[key] = right.get(key, 0) + (said == question.answer)
    write("tokens-words", {"questions": questions, "right": {name: n / questions for name, n in right.items()}})


def timed(graphs: dict[str, Path], engine: str, shape: list[int], rounds: int) -> dict[str, Any]:
    """Spread of each graph's milliseconds, and its ratios to the first one's."""
    commands = {
        name: [sys.executable, str(HERE), "time", str(path), engine, json.dumps(shape)] for name, path in graphs.items()
    }
    found = in_turns(commands, rounds)
    p50_ms = {name: [run["p50_ms"] for run in runs] for name, runs in found.items()}
    first, *others = p50_ms
    return {
        "p50_ms": {name: spread(values) for name, values in p50_ms.items()},
        "ratios": {f"{name} / {first}": ratios(p50_ms, name, first) for name in others},
    }


def pictures(rounds: int) -> None:
    """All variants of the ViT in both engines."""
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch))
        names = [f"{name}, {ending}" for ending in ("float32", "int8") for name in MERGED]
        graphs = {name: Path(scratch) / name / "model.onnx" for name in names}
        found = {engine: timed(graphs, engine, [1, 3, 224, 224], rounds) for engine in ENGINES}
    write("tokens", found)


def speech(artifacts: list[str], rounds: int = 3) -> None:
    """Encoders of artifacts of one Whisper."""
    graphs = {Path(path).name: Path(path) / "onnx" / "encoder_model.onnx" for path in artifacts}
    mels = json.loads((Path(artifacts[0]) / "penjing.json").read_text())["settings"]["audio"]["feature_size"]
    found = {
        f"{engine}, {frames} frames": timed(graphs, engine, [1, mels, frames], rounds)
        for engine in ENGINES
        for frames in FRAMES
    }
    write("tokens-speech", found)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["time", graph, engine, shape]:
            time_one(Path(graph), engine, json.loads(shape))
        case ["talker", folder, engine, tokens]:
            time_talker(Path(folder), engine, int(tokens))
        case ["words", *questions]:
            words(int(questions[0]) if questions else 1200)
        case ["vlm", *rounds]:
            talkers(int(rounds[0]) if rounds else 3)
        case ["whisper", *artifacts]:
            speech(artifacts)
        case [rounds]:
            pictures(int(rounds))
        case _:
            pictures(3)
