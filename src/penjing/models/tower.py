"""Towers and sites: what a model is made of, without knowing which model it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

Batch = Mapping[str, torch.Tensor]
"""Inputs of one or more items, by the name the model's forward gives them."""

Role = Literal["encoder", "decoder", "connector", "embedding", "head"]
Modality = Literal["image", "text", "audio", "mixed"]
SiteKind = Literal["linear", "conv", "embedding", "position"]


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """One place in a model that holds weights a method may compress.

    It is a place (`parent.attribute`), not a module: after a method replaced the module there, the site shows the new one.
    `tied` are other places that read the very same weights (an output head tied to its embedding); they are replaced together.
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

    def replace(self, module: nn.Module) -> None:
        """Put another module here."""
        setattr(self.parent, self.attribute, module)


@dataclass(frozen=True, eq=False, slots=True)
class Tower:
    """A part of a model with one role and one modality.

    `module` is what runs, `run` feeds it from a batch (and ignores the keys it does not know), `blocks` are its layers in
    order, each called with the hidden states first. `sites` are by their full name in the model, `parameter_names` are the
    parameters it owns (no parameter has two owners). Towers of role embedding and head have no blocks.
    """

    name: str
    role: Role
    modality: Modality
    module: nn.Module
    run: Callable[[Batch], Any]
    blocks: tuple[nn.Module, ...] = ()
    sites: Mapping[str, Site] = field(default_factory=dict)
    parameter_names: frozenset[str] = frozenset()


SITE_TYPES: Mapping[type[nn.Module], SiteKind] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv",
    nn.Conv2d: "conv",
    nn.Embedding: "embedding",
}
"""Modules whose weights a method may compress. Families may call an embedding a `position` table."""


def find_sites(root: nn.Module, within: nn.Module) -> dict[str, Site]:
    """Find every site below `within`, named as in `root`, in module order."""
    names = {id(module): name for name, module in root.named_modules(remove_duplicate=False)}
    found: dict[str, Site] = {}
    for parent in within.modules():
        for attribute, child in parent.named_children():
            kind = next((kind for cls, kind in SITE_TYPES.items() if isinstance(child, cls)), None)
            if kind is not None:
                name = names[id(child)]
                found[name] = Site(name, kind, parent, attribute)
    return found
