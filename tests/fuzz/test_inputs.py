"""Damaged recipes, rows, pictures, sounds and model folders: one line, and nothing written."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from fuzz_attempts import FINE, REFUSED, SEED, Attempts
from fuzz_mutations import json_bytes, mutated_bytes, mutated_json
from penjing.data.audio import read_sound
from penjing.data.image import read_image
from penjing.data.source import load_dataset
from penjing.models.open import open_model
from penjing.recipe import builtin_recipes, parse_recipe

ROWS = (
    {"file_name": "a.png", "text": "red", "label": "x", "id": "one"},
    {"image": {"path": "a.png"}, "text": "blue", "score": 0.5},
    {"text": "a", "text2": "b", "score": 1, "part": "judge", "source": ["x"], "language": "de"},
)
RATE_HZ = 16000


def encoded_picture(kind: str) -> bytes:
    """A small picture as a file of a kind."""
    levels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(levels).save(content, kind)
    return content.getvalue()


def encoded_sound(kind: str) -> bytes:
    """A short sound as a file of a kind."""
    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(0).normal(0, 0.1, RATE_HZ), RATE_HZ, format=kind)
    return content.getvalue()


def test_damaged_recipes(attempts: Attempts) -> None:
    recipes = {name: yaml.safe_load(text) for name, text in builtin_recipes().items()}
    for number in range(300):
        rng = random.Random(f"{SEED} recipe {number}")
        name = rng.choice(sorted(recipes))
        text = builtin_recipes()[name]
        if rng.random() < 0.8:
            text = json.dumps(mutated_json(recipes[name], rng))  # JSON is YAML
        else:
            text = mutated_bytes(text.encode(), rng).decode("utf8", "replace")
        attempts.run(f"recipe {name}, mutation {number} of seed {SEED}", lambda text=text: parse_recipe(text, "r.yaml"))
    assert attempts.ends[REFUSED] > 100


def test_recipes_as_bombs(attempts: Attempts) -> None:
    bombs = {
        "deep": "version: " + "[" * 100_000,
        "aliases": "\n".join(["a: &a0 [x]", *(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]),
        "aliases that are shown": "\n".join(
            f"{key}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 100)}]"
            for n, key in enumerate(("steps", "goals", "model", "data", "seed", "version"))
        ),
        "endless": "a: &a [*a]",
        "number": "version: 1\nsteps: [{method: rtn, bits: " + "9" * 5000 + "}]",
        "date": "version: 2026-99-99",
        "large": "x" * 2**24,
    }
    for name, text in bombs.items():
        attempts.run(name, lambda text=text: parse_recipe(text, "r.yaml"))
    assert attempts.ends == {REFUSED: len(bombs)}


def test_damaged_rows(tmp_path: Path, attempts: Attempts) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded_picture("PNG"))
    for number in range(300):
        rng = random.Random(f"{SEED} row {number}")
        lines = [json_bytes(row, rng) if rng.random() < 0.6 else json.dumps(row).encode() for row in ROWS]
        (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
        attempts.run(f"rows, mutation {number} of seed {SEED}", lambda: load_dataset(str(folder)))
    assert attempts.ends[REFUSED] > 100


@pytest.mark.parametrize(
    "row",
    [
        {"image": {"path": 5}, "text": "a"},
        {"image": {"bytes": "abc"}, "text": "a"},
        {"image": {"path": "/etc/hostname"}, "text": "a"},
        {"image": {"path": "../a.png"}, "text": "a"},
        {"image": {}, "text": ["a"]},
        {"text": "x" * 3_000_000},
        {"text": "a", "id": "x" * 100_000},
    ],
)
def test_rows_that_are_refused(row: dict[str, object], tmp_path: Path, attempts: Attempts) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    attempts.run(str(row)[:60], lambda: load_dataset(str(tmp_path / "rows.jsonl")))
    assert attempts.ends == {REFUSED: 1}


def test_a_book_of_one_paragraph_is_cut_in_time(tmp_path: Path, attempts: Attempts) -> None:
    (tmp_path / "book.txt").write_text("x" * 30_000_000)
    attempts.run("30 MB without a space", lambda: load_dataset(str(tmp_path / "book.txt")))
    assert set(attempts.ends) <= {FINE, REFUSED}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damaged_pictures(kind: str, attempts: Attempts) -> None:
    content = encoded_picture(kind)
    for number in range(40):
        damaged = mutated_bytes(content, random.Random(f"{SEED} {kind} {number}"))
        attempts.run(f"{kind}, mutation {number} of seed {SEED}", lambda damaged=damaged: read_image(damaged))
    assert attempts.ends[REFUSED] > 0


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_damaged_sounds(kind: str, attempts: Attempts) -> None:
    content = encoded_sound(kind)
    for number in range(40):
        damaged = mutated_bytes(content, random.Random(f"{SEED} {kind} {number}"))
        attempts.run(f"{kind}, mutation {number} of seed {SEED}", lambda damaged=damaged: read_sound(damaged, RATE_HZ))
    assert attempts.ends[REFUSED] > 0


FOLDERS = ("whisper", "language", "encoder", "classifier", "seedling")


def damage_folder(source: Path, folder: Path, rng: random.Random) -> str:
    """Copy a model and damage one of its files; returns what was done."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    name = rng.choice(sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors")))
    content = (folder / name).read_bytes()
    if name.endswith(".safetensors"):
        length = int.from_bytes(content[:8], "little")
        header = json_bytes(json.loads(content[8 : 8 + length]), rng)
        damaged = len(header).to_bytes(8, "little") + header + content[8 + length :]
        (folder / name).write_bytes(damaged if rng.random() < 0.6 else mutated_bytes(content, rng))
    else:
        (folder / name).write_bytes(json_bytes(json.loads(content), rng))
    return name


@pytest.mark.parametrize("name", FOLDERS)
def test_damaged_model_folders(name: str, request: pytest.FixtureRequest, tmp_path: Path, attempts: Attempts) -> None:
    source = request.getfixturevalue(f"{name}_folder")
    for number in range(12):
        rng = random.Random(f"{SEED} {name} {number}")
        changed = damage_folder(source, tmp_path / "model", rng)
        label = f"{name}: {changed}, mutation {number} of seed {SEED}"
        attempts.run(label, lambda: open_model(str(tmp_path / "model")))
    assert attempts.ends[REFUSED] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_many_more_damaged_model_folders(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, attempts: Attempts
) -> None:
    source = request.getfixturevalue(f"{name}_folder")
    for number in range(20, 400):
        rng = random.Random(f"{SEED} {name} {number}")
        changed = damage_folder(source, tmp_path / "model", rng)
        label = f"{name}: {changed}, mutation {number} of seed {SEED}"
        attempts.run(label, lambda: open_model(str(tmp_path / "model")))
    assert attempts.ends[REFUSED] > 100
