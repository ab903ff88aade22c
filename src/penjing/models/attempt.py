"""Run a part of a model on inputs that may not be for it, and tell inputs that are missing from a part that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penjing.errors import ModelError
from penjing.models.family import Model
from penjing.models.tower import Batch

LONGEST_REASON = 200


def attempt(model: Model, name: str, run: Callable[[Batch], Any], batch: Batch) -> Any:
    """Output of a part of a model, or None where the batch lacks what the part needs.

    Args:
        model: whose part it is.
        name: what the part is called in an error.
        run: runs it.
        batch: inputs, possibly of one modality alone.

    Raises:
        ModelError: the part failed, although the batch has every input that the model is made for.
    """
    try:
        return run(batch)
    except ModelError:  # the inputs never reach the part
        return None
    except Exception as error:  # a network raises anything where inputs are missing
        if _lacks_inputs(model, batch):
            return None
        raise ModelError(
            f"{name} of {model.name} fails on inputs that it is made for: {reason_of(error)}",
            hint="`penjing inspect` lists the towers; name others in the recipe, or leave the step out",
        ) from error


def _lacks_inputs(model: Model, batch: Batch) -> bool:
    """Whether the batch has not all inputs that the model is made for; a model that fails on its own has them all."""
    try:
        return bool(model.family.probe(model.net, 0).keys() - batch.keys())
    except ModelError:
        return False


def reason_of(error: Exception) -> str:
    """What an exception says, in one line, with its type."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]
