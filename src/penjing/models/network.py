"""From a checkpoint folder to a network in float32: the class its config names, every weight loaded, none invented."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from penjing.errors import ModelError, did_you_mean
from penjing.models.checkpoint import read_json
from penjing.models.plausible_size import check_plausible, check_values
from penjing.models.pruned import HALVES, pruned_names, read_pruned

UNTRAINED = ("masked_spec_embed", "mask_token", "num_batches_tracked")
"""Parameters only pretraining reads; published checkpoints often lack them. They are set to zero, never left random."""
GENERATION = "generation_config.json"
"""Tokens to begin with, to force and to suppress: not all of them are in config.json."""
LONGEST_REASON = 200
OWN = {"seedling": "penjing.seedling"}
"""Model types that transformers learns from packages of ours."""


def architecture_of(folder: Path, *, compressed: bool = False) -> type[Any]:
    """Return the transformers class that config.json names; nothing else is ever run (no remote code).

    A config of compressed weights is refused unless that is expected (`compressed`).
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    raw = read_json(folder / "config.json")
    check_plausible(folder, raw)
    for key in ("model_type", "auto_map"):
        if not isinstance(raw.get(key), str | dict | None):
            raise ModelError(f"{folder}: {key} in config.json is {str(raw[key])[:60]}", hint="it should be a name")
    if isinstance(raw.get("model_type"), str) and raw["model_type"] in OWN:
        return _own_architecture(OWN[raw["model_type"]])
    if raw.get("quantization_config") and not compressed:
        raise ModelError(f"{folder}: already compressed", hint="give the float checkpoint it was made from")
    names, kind = raw.get("architectures"), raw.get("model_type")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ModelError(
            f"{folder}: architectures in config.json is {names!r}", hint="it should be a list of class names"
        )
    name = names[0] if names else None
    if str(kind) not in CONFIG_MAPPING_NAMES and not (kind is None and name):
        raise _unknown(folder, "model_type", kind, list(CONFIG_MAPPING_NAMES), raw)
    name = name or _first(MODEL_MAPPING_NAMES.get(str(kind), ""))
    found: Any = getattr(transformers, str(name), None)
    if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
        return found
    if hasattr(found, "_backends"):
        needs = ", ".join(found._backends)
        raise ModelError(f"{folder}: {name} needs {needs}", hint="install it, or take another architecture")
    known = [name for name in dir(transformers) if name[:1].isupper() and "Config" not in name]
    raise _unknown(folder, "architecture", name, known, raw)


def _own_architecture(package: str) -> type[Any]:
    """The model of a package of ours, which registers it with transformers when it is imported."""
    found: type[Any] = importlib.import_module(package).MODEL
    return found


def _unknown(folder: Path, what: str, name: Any, known: list[str], raw: Mapping[str, Any]) -> ModelError:
    """Say that transformers does not know a name, with the nearest one it does."""
    if raw.get("auto_map"):
        hint = "the checkpoint brings its own code, which penjing never runs"
    else:
        hint = did_you_mean(str(name), known) if name else "config.json should have `architectures` and `model_type`"
    hint = hint if len(hint) <= LONGEST_REASON else "see the list of models in the documentation of transformers"
    return ModelError(f"{folder}: transformers knows no {what} {name!r}", hint=hint)


def _first(names: Any) -> str:
    """A mapping holds a class name or several."""
    return names if isinstance(names, str) else str(names[0])


def blank_network(folder: Path) -> nn.Module:
    """Build the network of a config in float32 with random weights, to be filled by the caller.

    Of a compressed checkpoint it is the float network that was compressed.
    """
    from transformers import GenerationConfig

    kind = architecture_of(folder, compressed=True)
    with quiet(), _blamed_on(folder):
        config = kind.config_class.from_pretrained(folder, local_files_only=True)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        check_values(folder, kind, config)
        net: Any = kind._from_config(config, dtype=torch.float32)
        if (folder / GENERATION).is_file():
            net.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    found: nn.Module = net.eval()
    return found


def load_network(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """Load a checkpoint in float32 and eval mode; also return the names in the file that the network has no place for.

    A weight that the file lacks is an error, not a random number: missing, misshapen, NaN and infinite ones are named.
    """
    kind = architecture_of(folder)
    with quiet(), _blamed_on(folder):
        check_values(folder, kind, kind.config_class.from_pretrained(folder, local_files_only=True))
        net, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    pruned = pruned_names(info["missing_keys"], info["unexpected_keys"])
    if pruned:
        read_pruned(net, folder, pruned)
        halves = {name + half for name in pruned for half in HALVES}
        info = {**info, **{key: {*info[key]} - pruned - halves for key in ("missing_keys", "unexpected_keys")}}
    _check_keys(net, info, folder)
    _check_finite(net, folder)
    net.requires_grad_(False)
    _own_memory(net)
    return net.eval(), tuple(sorted(info["unexpected_keys"]))


def _own_memory(net: nn.Module) -> None:
    """Move every tensor out of the mapped file, to where an allocator puts it.

    Products differ in the last bit between addresses that are aligned and those that a file happens to give: a network
    that was saved and rebuilt would not answer exactly what it answered before.
    """
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = tensor.data.clone()


def _check_keys(net: nn.Module, info: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that leaves a weight without a value."""
    name = type(net).__name__
    for key, stored, wanted in sorted(info["mismatched_keys"]):
        raise ModelError(
            f"{folder}: {key} is {tuple(stored)} in the file, {name} wants {tuple(wanted)}",
            hint="config.json and the weights are of different models",
        )
    untrained = [key for key in info["missing_keys"] if key.endswith(UNTRAINED)]
    missing = sorted(set(info["missing_keys"]) - set(untrained))
    if missing:
        unused = sorted(info["unexpected_keys"])
        raise ModelError(
            f"{folder}: {len(missing)} weights of {name} are not in the file: {_some(missing)}",
            hint=f"the file has {_some(unused)} instead: is `architectures` in config.json right?"
            if unused
            else "they would be random; save the checkpoint again with every weight",
        )
    with torch.no_grad():
        values = net.state_dict(keep_vars=True)
        for key in untrained:
            values[key].zero_()


def _some(names: Iterable[str], most: int = 3) -> str:
    """Name the first few."""
    shown = list(names)
    return ", ".join(shown[:most]) + (" …" if len(shown) > most else "")


def _check_finite(net: nn.Module, folder: Path) -> None:
    """Refuse NaN and infinite weights, naming the tensor."""
    for name, values in net.state_dict().items():
        if not values.is_floating_point() or torch.isfinite(values.sum()):
            continue
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            kind = "NaN" if torch.isnan(values).any() else "infinite"
            raise ModelError(
                f"{folder}: {name} holds {kind} values ({bad} of {values.numel()})",
                hint="the checkpoint is damaged or its training diverged; take another one",
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars, logging and warnings; what matters is raised as an error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


@contextmanager
def _blamed_on(folder: Path) -> Iterator[None]:
    """Turn whatever transformers says about an unusable checkpoint into one line."""
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(
            f"{folder}: {_line(error)}", hint="install what this architecture needs, or take another"
        ) from error
    except Exception as error:
        raise ModelError(
            f"{folder}: transformers cannot read this checkpoint: {_line(error)}",
            hint="check config.json, or save the checkpoint again with the installed transformers",
        ) from error


def _line(error: Exception) -> str:
    """What it says, on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "…"
