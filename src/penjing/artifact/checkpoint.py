"""A compressed network on disk as safetensors: integer codes, scales, and a list of the layers that hold them.

It serves `--format checkpoint`, and it is what a finished step leaves for `--resume`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from penjing.artifact.compressed_tensors import restore, store, write_config
from penjing.artifact.forms import LAYOUT, Forms, costs, plan
from penjing.artifact.masks import describe_mask, expect_mask, pack_masked, unpack_masked
from penjing.artifact.reshaped import reshape, reshaped
from penjing.bounded_json import read_object
from penjing.errors import ArtifactError, ModelError
from penjing.layers.bitmap import TABLED, masked_layers
from penjing.layers.described import DescribedLayer, blank_layer
from penjing.layers.half import half_tensors, mark_half
from penjing.layers.masked import Masked
from penjing.layers.weight_only import IntTable
from penjing.models.network import blank_network
from penjing.tensor.pack import pack_dense, pack_slots, unpack_dense, unpack_slots

LONGEST_REASON = 200
DAMAGED = (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
"""What reading a checkpoint raises that was changed, cut short or mixed up."""

WEIGHTS = "model.safetensors"
LAYERS = "layers.json"
NOTES = "notes.json"
"""What was done to the network, beside one that is kept for --resume."""
OWN_LAYOUT = "penjing"
OURS = (LAYERS, NOTES, "penjing.json")
CONFIG_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "[0-9]_*/config.json")
"""What a checkpoint folder holds besides weights: configuration and tokenizer files, sentence-transformers' stages."""


def write_configuration(net: Any, source: Path, target: Path) -> None:
    """Copy configuration and tokenizer files; config.json is written anew only where the network's says otherwise."""
    copy_configuration(source, target)
    if hasattr(net, "config") and structure_of(type(net.config).from_pretrained(source)) != structure_of(net.config):
        net.config.save_pretrained(target)


def structure_of(config: Any) -> Any:
    """What a configuration says of the network, and not of the file it came from; as JSON."""
    if not isinstance(config, dict):
        config = json.loads(config.to_json_string(use_diff=False))
    return {
        key: structure_of(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key[0] != "_" and key not in OF_THE_FILE
    }


def copy_configuration(source: Path, target: Path) -> None:
    """Copy configuration and tokenizer files exactly as they are; weight indexes stay behind."""
    for pattern in CONFIG_FILES:
        for path in sorted(source.glob(pattern)):
            if path.is_file() and not path.name.endswith(".index.json") and path.name not in OURS:
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


OF_THE_FILE = ("architectures", "dtype", "torch_dtype", "transformers_version")
"""Keys of a configuration that say nothing of the network's structure."""


class Layout(NamedTuple):
    """How a checkpoint is laid out: `compressed-tensors`, with a note on what that costs, or `penjing` and why."""

    layout: str
    note: str = ""


def save_portable(net: nn.Module, source: Path, folder: Path) -> Layout:
    """Write a network so that plain transformers opens it where that can be, else in our own layout.

    `source` is the folder its configuration comes from.
    """
    forms, reason = plan(net)
    save_network(net, source, folder, None if reason else forms)
    return Layout(OWN_LAYOUT, reason) if reason else Layout(LAYOUT, costs(net, forms))


def save_network(net: nn.Module, source: Path | None, folder: Path, forms: Forms | None = None) -> None:
    """Write a network with compressed layers; `source` is the folder its configuration comes from, if it has one.

    With `forms` of the layers it is written as compressed-tensors stores it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source is not None:
        write_configuration(net, source, folder)
    layers = _describe(net)
    halves = half_tensors(net)
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in net.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in seen:
            continue
        seen[place] = name
        tensors[name] = tensor.half() if name in halves else tensor.contiguous()
    if forms is not None:
        store(net, tensors, forms)
        write_config(net, folder, forms)
    else:
        _pack_odd_widths(net, tensors)
        pack_masked(net, tensors)
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    layout = OWN_LAYOUT if forms is None else LAYOUT
    document = {"layout": layout, "layers": layers, "halves": sorted(halves), "reshaped": reshaped(net)}
    (folder / LAYERS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf8")


def load_network(folder: Path, net: nn.Module | None = None) -> nn.Module:
    """Rebuild a network that `save_network` wrote, into `net` (of the same architecture) or a blank one."""
    with _damage(folder):
        document = _document(folder)
        net = _structured(folder, document) if net is None else net
        _place_layers(net, document["layers"])
        tensors = load_file(str(folder / WEIGHTS))
        if document.get("layout") == LAYOUT:
            restore(net, tensors)
        else:
            unpack_masked(net, tensors)
            _unpack_odd_widths(net, tensors)
        missing, unexpected = net.load_state_dict(tensors, strict=False)
    own = net.state_dict()
    filled = {own[name].data_ptr() for name in tensors if name in own}
    lost = [name for name in missing if own[name].numel() and own[name].data_ptr() not in filled]
    if lost or unexpected:
        raise ArtifactError(f"{folder / WEIGHTS} does not fit: {[*lost, *unexpected][0]}", hint="compress again")
    for name in document.get("halves", ()):
        module, _, parameter = name.rpartition(".")
        mark_half(net.get_submodule(module), parameter)
    return net.eval()


def structured_network(folder: Path) -> nn.Module:
    """The float network that a saved one was before weights were rounded: its structure, and no weights yet.

    Towers and sites are found in it; `load_network` then fills it.
    """
    with _damage(folder):
        return _structured(folder, _document(folder))


def _structured(folder: Path, document: Mapping[str, Any]) -> nn.Module:
    try:
        net = blank_network(folder)
    except ModelError as error:
        raise ArtifactError(error.message, hint="compress again") from error
    reshape(net, document.get("reshaped", {}))
    known = DescribedLayer.KNOWN
    _place_layers(net, {name: spec for name, spec in document["layers"].items() if known[spec["layer"]].is_structure})
    return net


def _place_layers(net: nn.Module, layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Put blank layers where they are described to be; one that stands there already stays."""
    for name, spec in layers.items():
        parent, _, attribute = name.rpartition(".")
        place = net.get_submodule(parent)
        standing = getattr(place, attribute, None)
        if isinstance(standing, DescribedLayer) and _described(standing) == {**spec, "shares": None}:
            continue
        layer = blank_layer(spec, standing)
        first: Any = net.get_submodule(spec["shares"]) if "shares" in spec else None
        if isinstance(layer, TABLED) and first is not None:
            layer.table = first.table
        expect_mask(layer, spec, first)
        setattr(place, attribute, layer)


def _described(layer: DescribedLayer) -> dict[str, Any]:
    return {"layer": type(layer).__name__, **layer.describe(), **describe_mask(layer), "shares": None}


def _document(folder: Path) -> dict[str, Any]:
    if not (folder / LAYERS).is_file():
        raise ArtifactError(f"{folder} holds no compressed checkpoint", hint="compress with --format checkpoint")
    return read_object(folder / LAYERS)


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn what reading raises that was changed, cut short or mixed up into one line."""
    try:
        yield
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise ArtifactError(f"{folder} is damaged: {reason}", hint="compress again") from error


def _describe(net: nn.Module) -> dict[str, dict[str, Any]]:
    """How to rebuild every compressed layer, by its name in the network; of a table read twice, whose it shares."""
    tables: dict[int, str] = {}
    layers: dict[str, dict[str, Any]] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, DescribedLayer):
            layers[name] = {"layer": type(module).__name__, **module.describe(), **describe_mask(module)}
            if isinstance(module, (*TABLED, Masked)):
                first = tables.setdefault(id(module.weight if isinstance(module, Masked) else module.table), name)
                layers[name] |= {} if first == name else {"shares": first}
    return layers


def _odd_tables(net: nn.Module) -> dict[str, IntTable]:
    """Tables whose slots in the engines are wider than their codes; those behind a mask are stored by it."""
    masked = {id(layer.table) for layer in masked_layers(net).values() if isinstance(layer, TABLED)}
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, IntTable) and module.bits != module.slot_bits and id(module) not in masked
    }


def _pack_odd_widths(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Store 3-bit codes in three bits: the engines' 4-bit slots are for `onnx/` only."""
    for name, table in _odd_tables(net).items():
        slots = tensors.get(f"{name}.packed")
        if slots is not None:
            tensors[f"{name}.packed"] = pack_dense(unpack_slots(slots, table.slot_bits) - table.shift, table.bits)


def _unpack_odd_widths(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Undo `_pack_odd_widths`."""
    for name, table in _odd_tables(net).items():
        dense = tensors.get(f"{name}.packed")
        if dense is not None:
            shape = (*table.packed.shape[:2], table.block)
            codes = unpack_dense(dense, table.bits, shape) + table.shift
            tensors[f"{name}.packed"] = pack_slots(codes, table.slot_bits)
