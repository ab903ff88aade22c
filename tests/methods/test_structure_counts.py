"""Operations and bytes fall by what anyone computes from shapes, and a model that is opened again shows the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penjing.artifact.checkpoint import load_network, save_network, structured_network
from penjing.methods import Aids, known_methods, make
from penjing.models.family import Model
from penjing.models.open import open_model, refreshed
from penjing.models.profile import inspect_model
from penjing.recipe import Step
from tiny_vision_language import save_vision_language

WIDTH, NEURONS, LAYERS, TOKENS = 32, 64, 2, 17
"""CLIP's image tower in tests/tiny_models.py, with 17 tokens of 4 × 4 patches and a class."""
SPOKEN, SPOKEN_NEURONS, KEYS = 64, 128, 32
"""The decoder in tests/tiny_vision_language.py: width, neurons, and width of all keys."""
FLOAT = 4


class Fall(NamedTuple):
    """What a model is spared."""

    macs: int
    size_bytes: int


@dataclass(frozen=True)
class Case:
    """A method on some towers of a tiny model, and what it is to spare by pen and paper."""

    kind: str
    towers: tuple[str, ...]
    fall: Callable[[Model, Model], Fall]
    settings: dict[str, Any] = field(default_factory=dict)
    plain: bool = False
    """Whether transformers opens the result by its configuration."""


def attention(tokens: int, width: int = WIDTH) -> int:
    """Operations of four products with square matrices, of scores and of mixing."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width


def feed_forward(tokens: int, neurons: int = NEURONS) -> int:
    return 2 * tokens * WIDTH * neurons


def half_the_neurons(before: Model, after: Model) -> Fall:
    gone = NEURONS // 2
    return Fall(LAYERS * feed_forward(TOKENS, gone), FLOAT * LAYERS * (2 * WIDTH + 1) * gone)


def half_the_heads(before: Model, after: Model) -> Fall:
    gone = WIDTH // 2
    macs = LAYERS * (4 * TOKENS * WIDTH * gone + 2 * TOKENS**2 * gone)
    return Fall(macs, FLOAT * LAYERS * (4 * WIDTH * gone + 3 * gone))


def half_the_stream(before: Model, after: Model) -> Fall:
    """Half of the channels that all layers share, with half of the heads; neurons and what is compared stay."""
    gone, square, pixels, compared = WIDTH // 2, WIDTH**2 - (WIDTH // 2) ** 2, 3 * 8 * 8, 16
    layer = 4 * TOKENS * square + 2 * TOKENS**2 * gone + feed_forward(TOKENS) // 2
    weights = 4 * square + 4 * gone + 2 * gone * NEURONS + gone + 2 * 2 * gone
    outside = pixels * gone + (TOKENS + 1) * gone + 2 * 2 * gone + compared * gone
    macs = LAYERS * layer + (TOKENS - 1) * pixels * gone + compared * gone
    return Fall(macs, FLOAT * (LAYERS * weights + outside))


def half_the_ears(before: Model, after: Model) -> Fall:
    """Half of 8 channels of three convolutions 3 × 3 at half, a quarter, an eighth of 80 bands and 240 frames, and of
    what a fourth reads of 5 tokens.
    """
    places, pitches = [(80 // step) * (240 // step) for step in (2, 4, 8)], 80 // 8
    kernels = [9 * spared for spared in (1 * 8 - 1 * 4, 8 * 8 - 4 * 4, 8 * 8 - 4 * 4)]
    read = 5 * 4 * pitches * WIDTH
    macs = sum(count * kernel for count, kernel in zip(places, kernels, strict=True)) + 240 // 8 * read
    return Fall(macs, FLOAT * (sum(kernels) + 3 * 4 + read))


def one_layer(before: Model, after: Model) -> Fall:
    weights = 4 * WIDTH**2 + 2 * WIDTH * NEURONS
    beside = 4 * WIDTH + NEURONS + WIDTH + 2 * 2 * WIDTH
    return Fall(attention(TOKENS) + feed_forward(TOKENS), FLOAT * (weights + beside))


def thin_layers(before: Model, after: Model) -> Fall:
    """Rank 8: of every square matrix 2 × 8 rows are left, of a feed-forward part's two 8 × (32 + 64) numbers each."""
    numbers = LAYERS * (4 * (WIDTH**2 - 8 * 2 * WIDTH) + 2 * (WIDTH * NEURONS - 8 * (WIDTH + NEURONS)))
    return Fall(TOKENS * numbers, FLOAT * numbers)


def matching(tokens: int, gone: int, compared: int, width: int) -> int:
    """Half of the tokens against the other half, and a thin matrix that adds what goes to what stays."""
    return (tokens - tokens // 2) * (tokens // 2) * compared + (tokens - gone) * gone * width


def merged_tokens(before: Model, after: Model) -> Fall:
    """Three fewer before each block, one of all the class token; compared by hidden states, then by one head's keys."""
    spared = 0
    for layer, (was, now) in enumerate(pairwise([TOKENS, TOKENS - 3, TOKENS - 6])):
        spared += attention(TOKENS) + feed_forward(TOKENS) - attention(now) - feed_forward(now)
        spared -= matching(was - 1, 3, WIDTH if layer == 0 else WIDTH // 2, 0) + (was - 3) * 3 * WIDTH
    return Fall(spared, 0)


def fewer_image_tokens(before: Model, after: Model) -> Fall:
    """A decoder reads 3 tokens of a picture and not 16, merged in rounds of at most a quarter."""
    words = [model.family.probe(model.net, 0)["input_ids"].shape[1] for model in (before, after)]
    layer = 2 * SPOKEN**2 + 2 * SPOKEN * KEYS + 3 * SPOKEN * SPOKEN_NEURONS
    rows = before.net.config.text_config.vocab_size
    spared = (words[0] - words[1]) * (LAYERS * layer + SPOKEN * rows)
    spared += LAYERS * 2 * (words[0] ** 2 - words[1] ** 2) * SPOKEN
    rounds = pairwise([16, 12, 9, 7, 6, 5, 4, 3])
    return Fall(spared - sum(matching(was, was - now, SPOKEN, SPOKEN) for was, now in rounds), 0)


def fewer_words(before: Model, after: Model) -> Fall:
    """Rows of one table that is read and written by."""
    gone = before.net.config.text_config.vocab_size - after.net.config.text_config.vocab_size
    assert gone > 0
    tokens = before.family.probe(before.net, 0)["input_ids"].shape[1]
    return Fall(tokens * gone * SPOKEN, FLOAT * gone * SPOKEN)


CASES = {
    "width, neurons": Case("clip", ("image",), half_the_neurons, {"neurons": 0.5, "multiple": 8}, plain=True),
    "width, heads": Case("clip", ("image",), half_the_heads, {"heads": 0.5}),
    "width, hidden": Case("clip", ("image",), half_the_stream, {"hidden": 0.5, "multiple": 8}, plain=True),
    "width, channels": Case("seedling", ("audio",), half_the_ears, {"channels": 0.5, "multiple": 2}, plain=True),
    "depth": Case("clip", ("image",), one_layer, {"by": "influence"}, plain=True),
    "lowrank": Case(
        "clip", ("image",), thin_layers, {"rank": 8, "multiple": 8, "measured": False, "sites": ["*.layers.*"]}
    ),
    "tokens, r": Case("clip", ("image",), merged_tokens, {"r": 3}),
    "tokens, keep": Case("llava", ("connector",), fewer_image_tokens, {"keep": 3}),
    "vocab": Case("smolvlm", (), fewer_words, plain=True),
}


def method_of(name: str) -> str:
    return name.partition(",")[0]


def test_every_method_that_restructures_is_counted():
    assert {method_of(name) for name in CASES} == {
        name for name, kind in known_methods().items() if kind.restructures and kind.stores
    }


@pytest.fixture
def opened(folder_of, tmp_path) -> Callable[[str], Model]:
    """A model that the test may change; those that talk about pictures have a tokenizer."""

    def one(kind: str) -> Model:
        folder = tmp_path / kind
        if kind in ("llava", "smolvlm") and not folder.exists():
            save_vision_language(folder, kind)
        return open_model(str(folder if folder.exists() else folder_of(kind)))

    return one


def restructured(model: Model, name: str, scratch: Path) -> Model:
    """After the method, as a recipe applies it."""
    case = CASES[name]
    step = Step(make(method_of(name), case.settings), case.towers)
    targets = step.targets(model.towers)
    step.method.refuse(model, targets)
    batches = [model.family.probe(model.net, seed) for seed in range(3)]
    notes = [*step.method.apply_all(targets, batches, Aids(model, batches[:2], 0, scratch))]
    assert any(note.change for note in notes)
    return refreshed(model, folder=step.method.folder(model, scratch))


def numbers(model: Model) -> list[dict[str, Any]]:
    """What `inspect` says of every tower, but for milliseconds."""
    told = ("name", "blocks", "parameters", "size_bytes", "macs")
    return [{key: tower[key] for key in told} for tower in inspect_model(model)["towers"]]


def total(towers: list[dict[str, Any]], key: str) -> int:
    return sum(tower[key] for tower in towers)


@pytest.mark.parametrize("name", CASES)
def test_macs_and_bytes_fall_as_computed_from_shapes(name, opened, tmp_path):
    case, source = CASES[name], opened(CASES[name].kind)
    before = numbers(source)
    model = restructured(opened(case.kind), name, tmp_path / "scratch")
    after = numbers(model)
    spared = Fall(*(total(before, key) - total(after, key) for key in Fall._fields))
    assert spared == case.fall(source, model), "to the last operation and byte"
    blocks = {one["name"]: one["blocks"] for one in before}
    gone = {one["name"]: blocks[one["name"]] - one["blocks"] for one in after}
    assert {name: count for name, count in gone.items() if count} == ({"image": 1} if name == "depth" else {})


@pytest.mark.parametrize("name", CASES)
def test_inspect_shows_the_same_of_what_is_opened_again(name, opened, tmp_path):
    model = restructured(opened(CASES[name].kind), name, tmp_path / "scratch")
    wanted = numbers(model)
    folder = tmp_path / "saved"
    save_network(model.net, model.folder, folder)
    again = refreshed(model, structured_network(folder), folder)
    load_network(folder, again.net)
    assert numbers(again) == wanted
    if CASES[name].plain:
        assert numbers(open_model(str(folder))) == wanted
