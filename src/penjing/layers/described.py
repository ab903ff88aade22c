"""Layers that say how to rebuild them, so that a checkpoint can hold a network no architecture describes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import nn

Description = Mapping[str, Any]


class DescribedLayer(nn.Module, ABC):
    """A layer that stands where the architecture has another one. Every subclass is known by its name.

    `describe` gives plain JSON, `blank` makes the layer from it with its tensors still empty; `original` is the module
    that the architecture has at that place, or None. One that `is_structure` is made of float layers, which later steps
    may still round.
    """

    KNOWN: ClassVar[dict[str, type[DescribedLayer]]] = {}
    is_structure: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        DescribedLayer.KNOWN.setdefault(cls.__name__, cls)  # torch.export derives proxies of the same name

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What `blank` needs besides the original."""

    @classmethod
    @abstractmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """Build the layer. Raises KeyError or TypeError where the description is of another layer."""


def blank_layer(spec: Description, original: nn.Module | None) -> DescribedLayer:
    """Build any layer from its description; KeyError where nobody knows it."""
    return DescribedLayer.KNOWN[spec["layer"]].blank(spec, original)
