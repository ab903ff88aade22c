"""Which form of compressed-tensors every layer of codes gets, and what keeps a network from being stored that way.

Symmetric linear layers are packed. The rest takes a byte a code: tables, because transformers 5.23 cannot prepare
packed ones and ties only what is called `weight`; asymmetric layers, because compressed-tensors 0.18 to 0.20 cannot
open packed zero points; layers with int8 activations, because that is their form.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from penjing.artifact.reshaped import reshaped
from penjing.layers.cache import CacheGrid
from penjing.layers.condensing import CondensedConnector
from penjing.layers.lowrank import LowRankLinear
from penjing.layers.masked import mask_of
from penjing.layers.merging import MergingBlock
from penjing.layers.recurrent import IntRecurrent
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear
from penjing.models.expressible import described_by
from penjing.models.network import OWN

LAYOUT = "compressed-tensors"
Coded = IntLinear | IntEmbedding | StaticLinear
CODE_BITS = 8
PACKED, BYTES, STATIC = "pack-quantized", "naive-quantized", "int-quantized"
Forms = Mapping[str, str]
"""Form of every layer of codes, by the layer's name."""
LACKING: Mapping[type[nn.Module], str] = {
    IntConv: "convolutions",
    StaticConv: "convolutions",
    IntRecurrent: "recurrent layers",
    CacheGrid: "steps per channel for a cache",
    MergingBlock: "merging of tokens",
    CondensedConnector: "merging of tokens",
    LowRankLinear: "two thin layers in the place of one",
}
CODED = (IntLinear, IntEmbedding, StaticLinear)


def plan(net: nn.Module) -> tuple[Forms, str]:
    """The form of every layer of codes, by its name; or why this network cannot be stored so that plain transformers
    opens it.
    """
    config: Any = net.config
    if config.model_type in OWN:
        return {}, f"transformers does not know {type(net).__name__} without penjing"
    reshapes = reshaped(net)
    narrower = [name for name, change in reshapes.items() if change["shapes"]]
    if narrower:
        return {}, f"{narrower[0]} is narrower than any configuration can say"
    blank = described_by(net, config)
    reason = _obstacle(net, blank) or (f"{next(iter(reshapes))} counts as no configuration can say" if reshapes else "")
    if reason:
        return {}, reason
    tables = {id(module.table) for _, module in coded_layers(net) if isinstance(module, IntEmbedding)}
    tied = _tied(blank)
    layers = sorted(coded_layers(net), key=lambda layer: layer[0] in tied)  # what others are tied to comes first
    forms = {name: _form(module, tables) for name, module in layers}
    packed = [name for name, form in forms.items() if form == PACKED]
    if not _opens_without(blank, packed):
        forms |= dict.fromkeys(packed, BYTES)
    return forms, ""


def _form(module: Coded, tables: Container[int]) -> str:
    """How the codes of one layer are stored."""
    if isinstance(module, StaticLinear):
        return STATIC
    return PACKED if module.table.symmetric and id(module.table) not in tables else BYTES


def _opens_without(blank: Any, packed: Sequence[str]) -> bool:
    """Whether transformers can prepare a network whose packed layers have no `weight`: T5, for one, looks for it."""
    for name in packed:
        if hasattr(blank.get_submodule(name), "weight"):
            del blank.get_submodule(name).weight
    try:
        blank.initialize_weights()
    except AttributeError:
        return False
    return True


def _obstacle(net: nn.Module, blank: nn.Module) -> str:
    """What in a network compressed-tensors has no place for; empty where there is nothing."""
    for name, module in net.named_modules(remove_duplicate=False):
        lacking = next((what for kind, what in LACKING.items() if isinstance(module, kind)), "")
        lacking = "bitmaps of masked weights" if mask_of(module) is not None else lacking
        if lacking:
            return f"{name}: {LAYOUT} has no {lacking}"
        if isinstance(module, CODED):
            reason = _misfit(module, blank.get_submodule(name))
            if reason:
                return f"{name}: {reason}"
    for places in _readers(net):
        if len(set(places) - _tied(blank)) > 1:
            return f"{places[0]}: transformers does not tie it to {' and '.join(places[1:])}"
    return ""


def _misfit(module: Coded, original: nn.Module) -> str:
    """Why one layer of codes cannot stand where the network has this module."""
    wanted = nn.Embedding if isinstance(module, IntEmbedding) else nn.Linear
    if not isinstance(original, wanted):
        return f"{LAYOUT} has no {type(original).__name__}"
    assert isinstance(original.weight, Tensor)
    shape = module.weight.shape if isinstance(module, StaticLinear) else (module.table.rows, module.table.width)
    if tuple(shape) != tuple(original.weight.shape):
        return "it is narrower than any configuration can say"
    if not isinstance(module, StaticLinear) and module.table.group and module.table.width % module.table.group:
        return f"{module.table.width} inputs cannot be divided into groups of {module.table.group}"
    return ""


def _readers(net: nn.Module) -> list[list[str]]:
    """Places that read one table, of tables that several read."""
    found: dict[int, list[str]] = {}
    for name, module in coded_layers(net):
        if not isinstance(module, StaticLinear):
            found.setdefault(id(module.table), []).append(name)
    return [places for places in found.values() if len(places) > 1]


def _tied(blank: Any) -> set[str]:
    """Places whose weight transformers takes from another place, after it has read the file."""
    return {name.rpartition(".")[0] for name in blank.get_expanded_tied_weights_keys(all_submodels=True)}


def coded_layers(net: nn.Module) -> Iterator[tuple[str, Coded]]:
    """Every place that reads codes, also where two read one table."""
    for name, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, CODED):
            yield name, module


def costs(net: nn.Module, forms: Forms) -> str:
    """Say where this layout takes more bytes than ours; empty where it does not."""
    wide = [name for name, module in coded_layers(net) if forms[name] == BYTES and _bits(module) < CODE_BITS]
    more = f" and {len(wide) - 1} more" if len(wide) > 1 else ""
    return f"a byte for each code of fewer bits in {wide[0]}{more}" if wide else ""


def _bits(module: Coded) -> int:
    return CODE_BITS if isinstance(module, StaticLinear) else module.table.bits
