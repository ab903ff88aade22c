"""A compressed network on disk: what is saved comes back, smaller; what is damaged is told in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine_rack import bits_of
from penjing.artifact.checkpoint import LAYERS, WEIGHTS, load_network, save_network, write_configuration
from penjing.artifact.publish import publish
from penjing.errors import ArtifactError
from penjing.layers.weight_only import IntTable
from penjing.methods import Aids, make
from penjing.models.family import Model


def compressed(model: Model, tmp_path: Path, *steps: tuple[str, dict]) -> Model:
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    for name, settings in steps:
        for tower in model.towers:
            make(name, settings).run(tower, batches, Aids(model, [], 0, tmp_path))
    return model


@pytest.mark.parametrize("name", ["llama_tied", "t5", "clip", "wav2vec2_ctc"])
@pytest.mark.parametrize(
    "steps",
    [[("rtn", {"bits": 3})], [("rtn", {"bits": 4, "group": 32, "symmetric": False}), ("float16", {})]],
    ids=["3 bits", "4 bits in groups"],
)
def test_what_is_saved_comes_back(name, steps, fresh, tmp_path):
    model = compressed(fresh(name), tmp_path, *steps)
    save_network(model.net, model.folder, tmp_path / "out")
    wanted = bits_of(model.net)
    assert bits_of(load_network(tmp_path / "out")) == wanted
    assert bits_of(load_network(tmp_path / "out", fresh(name).net)) == wanted  # over its source, as a resumed run does
    save_network(load_network(tmp_path / "out"), model.folder, tmp_path / "again")
    for file in (WEIGHTS, LAYERS):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_static_layers_come_back_with_their_inputs(fresh, tmp_path):
    model = fresh("clip")
    aids = Aids(model, [], 0, tmp_path)
    make("rtn", {}).run(model.towers[0], [], aids)
    for tower in model.towers[:2]:  # one with codes that were kept, one whose codes it chose
        make("static_int8", {}).run(tower, [model.family.probe(model.net, 0)], aids)
    save_network(model.net, model.folder, tmp_path / "out")
    rebuilt = load_network(tmp_path / "out")
    assert bits_of(rebuilt) == bits_of(model.net)
    tops = {name: part.top for name, part in model.net.named_modules() if hasattr(part, "top")}
    assert set(tops.values()) == {127, 255}
    assert {name: part.top for name, part in rebuilt.named_modules() if hasattr(part, "top")} == tops


def test_three_bits_take_three_bits(fresh, tmp_path):
    model = compressed(fresh("llama"), tmp_path, ("rtn", {"bits": 3}))
    save_network(model.net, model.folder, tmp_path / "out")
    stored = load_file(tmp_path / "out" / WEIGHTS)
    tables = {name: part for name, part in model.net.named_modules() if isinstance(part, IntTable)}
    assert len(tables) > 10
    for name, table in tables.items():
        codes = table.packed.shape[0] * table.packed.shape[1] * table.block
        assert stored[f"{name}.packed"].numel() == codes * 3 // 8


def test_a_tied_table_is_stored_once(fresh, tmp_path):
    model = compressed(fresh("llama_tied"), tmp_path, ("rtn", {}))
    save_network(model.net, model.folder, tmp_path / "out")
    names = [name for name in load_file(tmp_path / "out" / WEIGHTS) if "embed_tokens" in name or "lm_head" in name]
    assert sorted(names) == ["model.embed_tokens.table.packed", "model.embed_tokens.table.scales"]
    rebuilt = load_network(tmp_path / "out")
    assert rebuilt.lm_head.table is rebuilt.model.embed_tokens.table


def test_configuration_is_copied_as_it_is_and_weights_are_not(fresh, tmp_path):
    model = fresh("bert")
    source = tmp_path / "source"
    source.mkdir()
    config = (model.folder / "config.json").read_text() + "\n\n"
    (source / "config.json").write_text(config)
    for name in ("vocab.txt", "chat_template.jinja", "spiece.model"):
        (source / name).write_text(f"{name} of the source")
    for name in ("model.safetensors.index.json", "model.safetensors", "layers.json", "penjing.json", "notes.md"):
        (source / name).write_text("not this")
    save_network(model.net, source, tmp_path / "out")
    copied = {path.name for path in (tmp_path / "out").iterdir()} - {WEIGHTS, LAYERS}
    assert copied == {"config.json", "vocab.txt", "chat_template.jinja", "spiece.model"}
    assert (tmp_path / "out" / "config.json").read_text() == config
    assert (tmp_path / "out" / "vocab.txt").read_text() == "vocab.txt of the source"


def test_configuration_of_another_structure_is_written_anew(fresh, tmp_path):
    model = fresh("bert")
    model.net.config.intermediate_size = 8
    write_configuration(model.net, model.folder, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {**json.loads((model.folder / "config.json").read_text()), "intermediate_size": 8}


@pytest.fixture
def saved(fresh, tmp_path) -> Path:
    model = compressed(fresh("llama"), tmp_path, ("rtn", {}))
    save_network(model.net, model.folder, tmp_path / "out")
    return tmp_path / "out"


def cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.norm.weight"]
    save_file(tensors, folder / WEIGHTS)


def add_a_tensor(folder: Path) -> None:
    save_file({**load_file(folder / WEIGHTS), "stranger": torch.zeros(3)}, folder / WEIGHTS)


def bend_a_tensor(folder: Path) -> None:
    save_file({**load_file(folder / WEIGHTS), "model.norm.weight": torch.zeros(3)}, folder / WEIGHTS)


def spoil_the_list(folder: Path) -> None:
    (folder / LAYERS).write_text("{")


def name_a_place_that_is_not(folder: Path) -> None:
    document = json.loads((folder / LAYERS).read_text())
    document["layers"]["model.layers.9.nothing"] = {"layer": "IntLinear"}
    (folder / LAYERS).write_text(json.dumps(document))


def forget_the_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        lose_a_tensor,
        add_a_tensor,
        bend_a_tensor,
        spoil_the_list,
        name_a_place_that_is_not,
        forget_the_weights,
    ],
)
def test_damage_is_told_in_one_line(damage, saved):
    damage(saved)
    with pytest.raises(ArtifactError) as caught:
        load_network(saved)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.hint == "compress again"


def test_a_plain_checkpoint_is_not_a_compressed_one(fresh):
    with pytest.raises(ArtifactError, match="holds no compressed checkpoint"):
        load_network(fresh("bert").folder)


def test_an_interruption_while_publishing_costs_nothing(tmp_path, monkeypatch):
    out, new = tmp_path / "out", tmp_path / "new"
    for folder in (out, new):
        folder.mkdir()
        (folder / "weights").write_text(folder.name)
        (folder / "penjing.json").write_text('{"files": {"weights": ""}}')
    replace = os.replace

    def interrupted(source, target):
        if Path(source) == new:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(new, out)
    assert (out / "weights").read_text() == "out"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "out"]
