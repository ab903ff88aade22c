"""Run a part of a network by running the network until that part has answered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from penjing.errors import ModelError
from penjing.models.tower import LABELS, Batch


class _AnsweredError(Exception):
    """Carries the output of the part out of the network, which then need not go on."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def call(net: nn.Module, batch: Batch, *, use_cache: bool = False) -> Any:
    """Call a network with those keys of a batch that its forward knows, but for labels."""
    known = inspect.signature(net.forward).parameters
    inputs: dict[str, Any] = {name: batch[name] for name in batch if name in known and name != LABELS}
    if "use_cache" in known:
        inputs["use_cache"] = use_cache
    return net(**inputs)


def run_until(net: nn.Module, name: str, paths: Sequence[str]) -> Callable[[Batch], Any]:
    """Return a function from a batch to the output of the first of these submodules that is called.

    Nothing after it runs. Paths are looked up at each call, so a module that a method replaced is found.
    """

    def run(batch: Batch) -> Any:
        parts = [net.get_submodule(path) for path in paths]
        if not parts or parts == [net]:
            return call(net, batch)
        hooks = [part.register_forward_hook(_answer) for part in parts]
        try:
            call(net, batch)
        except _AnsweredError as answered:
            return answered.output
        finally:
            for hook in hooks:
                hook.remove()
        raise not_reached(batch, name)

    return run


def not_reached(batch: Batch, tower: str) -> ModelError:
    """What to say of inputs that a tower needs others besides."""
    return ModelError(
        f"the inputs ({', '.join(batch)}) never reach tower {tower!r}",
        hint="give data of every modality the model reads",
    )


def _answer(module: nn.Module, args: Any, output: Any) -> None:
    raise _AnsweredError(output)
