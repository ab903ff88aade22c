"""Towers and sites: what a model is made of, without knowing which model it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from penjing.layers.masked import Masked, carry_mask
from penjing.layers.recurrent import weight_matrices
from penjing.layers.weight_only import IntTable

RECURRENT = (nn.LSTM, nn.GRU)

Batch = Mapping[str, torch.Tensor]
"""Inputs of one or more items, by the name the model's forward gives them."""
LABELS = "labels"
"""Beside them: what the model is to say of each item (items,), which no forward is given."""

Role = Literal["encoder", "decoder", "connector", "embedding", "head"]
Modality = Literal["image", "text", "audio", "mixed"]
SiteKind = Literal["linear", "conv", "embedding", "position", "recurrent"]


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """One place in a model that holds weights a method may compress.

    It is a place (`parent.attribute`), not a module: after a method replaced the module there, the site shows the new
    one. `tied` are other places that read the very same weights (an output head tied to its embedding); they are
    replaced together.
    """

    name: str
    kind: SiteKind
    parent: nn.Module
    attribute: str
    tied: tuple[Site, ...] = ()

    @property
    def module(self) -> nn.Module:
        """The module that stands here now."""
        return self.parent.get_submodule(self.attribute)

    @property
    def weight(self) -> torch.Tensor:
        """The weight: (out, in), (out, in / groups, *kernel) or (rows, features). A view, to read or to write in place.

        A transformers `Conv1D` stores (in, out); it is shown the way `nn.Linear` stores it. A recurrent layer has
        several matrices; they are shown one after another, flattened, to read only.
        """
        if isinstance(self.module, RECURRENT):
            return torch.cat([matrix.flatten() for matrix in weight_matrices(self.module).values()])
        weight = self.module.weight
        assert isinstance(weight, torch.Tensor)
        return weight.t() if is_transposed(self.module) else weight

    @property
    def weight_count(self) -> int:
        """How many numbers the weight has; a table of codes is asked for its sides, not turned into floats."""
        table = getattr(self.module, "table", None)
        return table.rows * table.width if isinstance(table, IntTable) else self.weight.numel()

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names in the network of the float parameters that the weight is, or is made of."""
        if isinstance(self.module, RECURRENT):
            return tuple(f"{self.name}.{name}" for name in weight_matrices(self.module))
        return (f"{self.name}.weight",)

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias (out,), or None."""
        bias = getattr(self.module, "bias", None)
        return bias if isinstance(bias, torch.Tensor) else None

    def replace(self, module: nn.Module) -> None:
        """Put another module here; the mask of the one before it goes over to it."""
        carry_mask(self.module, module, self.name)
        setattr(self.parent, self.attribute, module)


@dataclass(frozen=True, eq=False, slots=True)
class Tower:
    """A part of a model with one role and one modality.

    `module` is what runs, `run` feeds it from a batch (and ignores the keys it does not know), `blocks` are its layers
    in order, each called with the hidden states first. `sites` are by their full name in the model, `parameter_names`
    are the parameters it owns (no parameter has two owners). Towers of role embedding and head have no blocks.

    A tower whose blocks read tokens of several modalities says which is which: `origins` gives a number per token
    (tokens,) for a batch of one item, and `loss` the task's loss, with gradients, that says how much each is felt.
    Of a decoder whose cache a graph carries, `cache` gives keys and values of each layer after a batch, each (batch,
    key heads, tokens, width).
    """

    name: str
    role: Role
    modality: Modality
    module: nn.Module
    run: Callable[[Batch], Any]
    blocks: tuple[nn.Module, ...] = ()
    sites: Mapping[str, Site] = field(default_factory=dict)
    parameter_names: frozenset[str] = frozenset()
    origins: Callable[[Batch], torch.Tensor] | None = None
    loss: Callable[[Batch], torch.Tensor] | None = None
    cache: Callable[[Batch], list[tuple[torch.Tensor, torch.Tensor]]] | None = None


SITE_TYPES: Mapping[type[nn.Module], SiteKind] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv",
    nn.Conv2d: "conv",
    nn.Embedding: "embedding",
    nn.LSTM: "recurrent",
    nn.GRU: "recurrent",
}
"""Modules whose weights a method may compress. Families may call an embedding a `position` table."""

SAME_MATH = frozenset({"FalconLinear"})
"""Subclasses with a forward of their own that computes what the base class computes."""


def is_transposed(module: nn.Module) -> bool:
    """Return whether a module is a linear layer that stores (in, out): the `Conv1D` of transformers (GPT-2)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def site_kind(module: nn.Module) -> SiteKind | None:
    """Return the kind of site a module makes, or None.

    A subclass that overrides `forward` computes something else than its base class, so it is no site, unless it is the
    base class with a mask. An embedding that multiplies its rows by `embed_scale` still is one (whoever replaces it
    keeps the factor); any other embedding is a `position` table.
    """
    if is_transposed(module):
        return "linear"
    for base, kind in SITE_TYPES.items():
        if isinstance(module, base):
            plain = type(module).forward is base.forward or type(module).__name__ in SAME_MATH
            plain |= isinstance(module, Masked)
            if kind == "embedding":
                return "embedding" if plain or hasattr(module, "embed_scale") else "position"
            return kind if plain else None
    return None


def find_places(root: nn.Module) -> Iterator[Site]:
    """Yield every place below `root` that holds compressible weights, in module order, tied places one by one.

    `nn.MultiheadAttention` reads the weight of its `out_proj` without calling it, so nothing in there is a place.
    """
    modules = dict(root.named_modules(remove_duplicate=False))
    seen: set[tuple[int, str]] = set()
    for path, module in modules.items():
        above, _, attribute = path.rpartition(".")
        parent, kind = modules[above], site_kind(module)
        if path and kind and not isinstance(parent, nn.MultiheadAttention) and (id(parent), attribute) not in seen:
            seen.add((id(parent), attribute))
            yield Site(path, kind, parent, attribute)


def find_sites(root: nn.Module, within: nn.Module) -> dict[str, Site]:
    """Find every site below `within`, named as in `root`, in module order.

    Places that read one weight make one site: the embedding among them (else the first), with the others in its `tied`.
    """
    inside = {id(module) for module in within.modules()}
    groups: dict[int, list[Site]] = {}
    for place in find_places(root):
        weight = place.module._parameters.get("weight")
        groups.setdefault(id(place.module if weight is None else weight), []).append(place)
    found = {}
    for places in groups.values():
        first = next((place for place in places if place.kind == "embedding"), places[0])
        if id(first.parent) in inside:
            found[first.name] = replace(first, tied=tuple(place for place in places if place is not first))
    return found
