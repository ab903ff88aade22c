"""The dual encoder that ships: small, honest about itself, and good at what it was trained for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penjing.data import pictures
from penjing.data.image import ImageFrontEnd, read_image
from penjing.data.image_settings import image_settings
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd
from penjing.errors import ModelError
from penjing.models.pretrained import pretrained_folder

FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def folder() -> Path:
    return pretrained_folder("dual-encoder")


@pytest.fixture(scope="module")
def judge() -> list[Row]:
    data = pictures.load_pictures()
    return [row for row in data.rows if data.parts[row.id] == "judge"]


@pytest.fixture(scope="module")
def scores(folder: Path, judge: list[Row]) -> Any:
    """Cosines of the 200 judge pictures (rows) and captions (columns), by the shop's front ends and transformers."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from penjing.models.families.dual_encoder import DualEncoder

    net = transformers.VisionTextDualEncoderModel.from_pretrained(folder).eval()
    assert next(net.parameters()).dtype is torch.float32
    family = DualEncoder()
    image, text, _ = family.towers(net)
    batches = list(family.batches(family.settings(net, folder), folder, judge))
    with torch.no_grad():
        seen = image.run({"pixel_values": torch.cat([batch["pixel_values"] for batch in batches])})
        read = torch.cat([text.run(batch) for batch in batches])
    normal = [torch.nn.functional.normalize(side, dim=-1).numpy() for side in (seen, read)]
    return normal[0] @ normal[1].T


def card(folder: Path, line: str) -> float:
    """A number of the model card's table."""
    found = re.search(rf"\| {line} \| ([0-9.]+)", (folder / "README.md").read_text(encoding="utf8"))
    assert found
    return float(found[1])


def test_finds_the_right_caption_among_two_hundred(folder: Path, scores: Any) -> None:
    truth = np.arange(200)
    image_to_text = float((scores.argmax(1) == truth).mean())
    text_to_image = float((scores.argmax(0) == truth).mean())
    assert image_to_text >= 0.8
    assert text_to_image >= 0.8
    assert image_to_text == pytest.approx(card(folder, "image to text recall@1"), abs=0.011)
    assert text_to_image == pytest.approx(card(folder, "text to image recall@1"), abs=0.011)


@pytest.mark.shop
def test_is_small_and_whole(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES | {"README.md"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
    header = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    tensors = {key: value for key, value in json.loads(header[8 : 8 + length]).items() if key != "__metadata__"}
    assert {value["dtype"] for value in tensors.values()} == {"F16"}
    assert sum(int(np.prod(value["shape"])) for value in tensors.values()) <= 3_000_000
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.shop
def test_front_ends_know_every_row(folder: Path, judge: list[Row]) -> None:
    see = ImageFrontEnd(image_settings(json.loads((folder / "preprocessor_config.json").read_text())))
    settings = {"inputs": ["input_ids"], "max_length": 32, "padding": "longest", "pad_id": 0}
    read = TextFrontEnd(
        folder / "tokenizer.json", {**settings, "pad_token": "[PAD]", "pad_side": "right", "lower": False}
    )
    ids = read([row.fields["text"] for row in judge])["input_ids"]
    assert (ids != 1).all(), "a word of the captions is unknown"
    assert isinstance(judge[0].file, bytes)
    pixels = see(read_image(judge[0].file))
    assert pixels.shape == (3, 64, 64)
    assert np.abs(pixels).max() <= 1


@pytest.mark.shop
def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError, match="dual-encode") as caught:
        pretrained_folder("dual-encode")
    assert caught.value.hint == "did you mean 'dual-encoder'?"
    with pytest.raises(ModelError):
        pretrained_folder("../pretrained/dual-encoder")
