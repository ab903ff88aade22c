"""The seedling as a family: five towers and one table, every parameter owned once, inputs from rows of scenes."""

from __future__ import annotations

import json
import re

import pytest

from penjing.calibrate.runner import reference_runner
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.errors import DataError, ModelError
from penjing.judge.multimodal import MultimodalJudge
from penjing.models.open import open_model
from penjing.models.pretrained import pretrained_folder
from penjing.pipeline.graphs import check_front_end

MOST_BYTES = 30_000_000
SCENES = 60
NAMES = {
    "captions wholly true": "caption/truth",
    "typed questions, exact answer": "vqa/accuracy",
    "spoken questions, exact answer": "spoken_vqa/accuracy",
    "picture → text, recall@1": "retrieval/image_to_text_recall_at_1",
    "words wrong in transcripts": "speech/wer",
}


@pytest.fixture(scope="module")
def model():
    return open_model("seedling")


def test_towers_and_the_table(model):
    found = {tower.name: (tower.role, tower.modality, len(tower.blocks)) for tower in model.towers}
    assert found == {
        "image": ("encoder", "image", 3),
        "text": ("encoder", "text", 1),
        "audio": ("encoder", "audio", 3),
        "fusion": ("connector", "mixed", 2),
        "decoder": ("decoder", "text", 2),
        "embedding": ("embedding", "text", 0),
    }
    (table,) = model.towers[-1].sites.values()
    assert {place.name for place in table.tied} == {"decoder.embed_tokens", "decoder.head"}


def test_every_parameter_has_one_owner(model):
    owned = [name for tower in model.towers for name in tower.parameter_names]
    assert sorted(owned) == sorted(name for name, _ in model.net.named_parameters())
    assert 3_000_000 <= sum(value.numel() for value in model.net.parameters()) <= 8_000_000


def test_inputs_are_made_of_every_use_of_a_row(model):
    rows = split(load_dataset("scenes")).calibrate[:5]
    batches = list(model.family.batches(model.settings, model.folder, rows))
    assert {tuple(batch["fused"].tolist()) for batch in batches} == {
        (True, False, False), (True, True, False), (True, False, True), (False, False, True),
    }  # fmt: skip
    for batch in batches:
        for tower in model.towers:
            tower.run(batch)


def test_rows_of_one_modality_cannot_calibrate(model):
    rows = load_dataset("speech").rows[:3]
    with pytest.raises(DataError, match="no row to calibrate with"):
        list(model.family.batches(model.settings, model.folder, rows))


def test_without_its_processor_nothing_can_be_fed(seedling_folder, tmp_path):
    for path in seedling_folder.iterdir():
        if path.name != "processor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"no processor_config\.json"):
        check_front_end(open_model(str(tmp_path)))


def test_what_ships_is_small_and_whole():
    folder = pretrained_folder("seedling")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md", "config.json", "model.safetensors", "processor_config.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    header = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    tensors = {key: value for key, value in json.loads(header[8 : 8 + length]).items() if key != "__metadata__"}
    assert {value["dtype"] for value in tensors.values()} == {"F16"}


@pytest.fixture(scope="module")
def scores(model):
    """The first 60 judge scenes through PyTorch; `tests/golden` does all 300."""
    rows = split(load_dataset("scenes")).judge
    first = sorted({row.image for row in rows})[:SCENES]
    return MultimodalJudge(reference_runner(model))([row for row in rows if row.image in first])


@pytest.mark.parametrize("title", NAMES)
def test_the_first_scenes_come_out_as_the_card_says(title, scores):
    card = (pretrained_folder("seedling") / "README.md").read_text(encoding="utf8")
    stated = float(re.search(rf"\| {re.escape(title)} \| ([0-9.]+)", card)[1])
    value = scores[NAMES[title]].value
    if NAMES[title].endswith("wer"):
        assert 1 - value >= 0.95 * (1 - stated)
    else:
        assert value >= 0.95 * stated
