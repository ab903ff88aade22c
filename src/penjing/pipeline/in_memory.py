"""Models that a program holds in memory: written to a folder, so that everything else reads a checkpoint."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.errors import ModelError, PenjingError


@contextlib.contextmanager
def checkpoint_of(model: Any, verb: str, beside: Path | None = None) -> Iterator[str]:
    """Name of a checkpoint that holds a model: a folder or hub id as it is, a `PreTrainedModel` in a temporary folder.

    Args:
        model: a folder, a hub id, or a model of transformers. Its tokenizer and preprocessor are taken from where it
            was loaded.
        verb: what is done with it, for errors.
        beside: a folder on the disk that is written to; the system's temporary folder where it is None.

    Raises:
        ModelError: it is none of these.
    """
    if isinstance(model, (str, Path)):
        yield str(model)
        return
    if not (callable(getattr(model, "save_pretrained", None)) and hasattr(model, "config")):
        hint = "give a folder, a hub id or a PreTrainedModel"
        if callable(getattr(model, "state_dict", None)):
            hint = "any torch module: penjing.compress(module, steps, batches=[…]); else give a folder or a hub id"
        raise ModelError(f"{verb} takes no {type(model).__name__}", hint=hint)
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    origin = str(getattr(model, "name_or_path", "") or "")
    with tempfile.TemporaryDirectory(prefix=".penjing-", dir=beside) as scratch:
        folder = Path(scratch) / (Path(origin).name or type(model).__name__)
        _copy_tokenizer(origin, folder)
        model.save_pretrained(folder)  # last: its configuration counts, not that of the folder
        try:
            yield str(folder)
        except ModelError as error:
            if str(folder) not in error.message:
                raise
            raise ModelError(
                error.message.replace(str(folder), type(model).__name__),
                hint="save model and tokenizer or preprocessor into one folder with save_pretrained, and give that",
            ) from error


def _copy_tokenizer(origin: str, folder: Path) -> None:
    """Copy what reads a model's inputs from where the model was loaded, if that still is there."""
    from penjing.artifact.checkpoint import copy_configuration  # here: `evaluate` of an artifact needs no torch
    from penjing.models.hub import locate

    if not origin:
        return
    try:
        source = locate(origin).folder
    except PenjingError:  # a model made in memory has a name that is on no disk
        return
    if source.is_dir():
        copy_configuration(source, folder)
