"""Modules of a network with something done to what they read or give, their weights where they always were."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

from torch import nn

from penjing.layers.described import DescribedLayer, Description


class Around(DescribedLayer):
    """Stands where a module stood and has its parts: they keep their names; a site replaced in either is in both."""

    is_structure: ClassVar[bool] = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._parameters, self._buffers, self._modules = inner._parameters, inner._buffers, inner._modules
        self.training = inner.training
        object.__setattr__(self, "_inner", inner)

    @property
    def inner(self) -> nn.Module:
        """What is done by the module that the architecture has here; it is no part of its own."""
        inner: nn.Module = self.__dict__["_inner"]
        return inner

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """The same around the module that the architecture has here."""
        if original is None:
            raise TypeError("there is no module here")
        return cls.around(original, spec)

    @classmethod
    @abstractmethod
    def around(cls, inner: nn.Module, spec: Description) -> Self:
        """Build it as described. Raises KeyError or TypeError where the description is of another layer."""

    def __getattr__(self, name: str) -> Any:
        """What is asked of the module beside its parts: networks look at some (Gemma at `attention_type`)."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_inner"], name)

    def train(self, mode: bool = True) -> Self:
        """Set the module as well."""
        self.__dict__["_inner"].training = mode
        return super().train(mode)
