"""From what the user typed to a folder on disk: a built-in model, a folder, or a hub id. Offline it answers at once."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.errors import ModelError
from penjing.extras import need

TIMEOUT_S = 5.0
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "tokenizer*")
UNWANTED = ("*/*", "*.fp16.*", "consolidated*")
BUILTIN = {"pictures-dual-encoder": "dual-encoder", "seedling": "seedling"}
"""Models that penjing brings along, by the name of their folder in `pretrained`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint lies: its folder, the name it goes by in reports, and its revision where it has one."""

    folder: Path
    id: str
    revision: str | None = None


_PINNED: ContextVar[dict[str, Place] | None] = ContextVar("pinned", default=None)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Resolve every hub id once within this context, so that a run uses one revision of it."""
    if _PINNED.get() is not None:  # a run within a run
        yield
        return
    token = _PINNED.set({})
    try:
        yield
    finally:
        _PINNED.reset(token)


def locate(name: str) -> Place:
    """Find the folder of a model: a built-in name, a folder, or a hub id (downloaded into the Hugging Face cache)."""
    if name in BUILTIN:
        from penjing.models.pretrained import pretrained_folder

        return Place(pretrained_folder(BUILTIN[name]), name)
    folder = Path(name).expanduser()
    if folder.exists() or not HUB_ID.fullmatch(name):
        return Place(folder, folder.resolve().name)
    places = _PINNED.get()
    if places is None:
        return _from_hub(name)
    if name not in places:
        places[name] = _from_hub(name)
    return places[name]


def _from_hub(name: str) -> Place:
    """Ask the hub for the newest revision, else take what the cache holds."""
    hub: Any = need("huggingface_hub", "compress")
    errors: Any = need("huggingface_hub.errors", "compress")
    try:
        info = hub.HfApi().model_info(name, timeout=TIMEOUT_S)
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{name} is gated on the hub", hint="ask for access on its page, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            f"{name}: neither a folder here nor a model on the hub",
            hint="check the spelling; a private one needs `hf auth login`",
        ) from error
    except Exception as error:  # no network, a proxy, a server in trouble: the cache may still have it
        return _from_cache(hub, name, error)
    files = [sibling.rfilename for sibling in info.siblings or []]
    if files and not any(file.endswith(".safetensors") and "/" not in file for file in files):
        pickled = next((file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt"))), None)
        raise ModelError(
            f"{name}: no safetensors on the hub" + (f", only pickled weights ({pickled})" if pickled else ""),
            hint="a pickle can run code when it is read; take a converted revision, or convert it where you trust it",
        )
    try:
        folder = hub.snapshot_download(
            name, revision=info.sha, allow_patterns=WANTED, ignore_patterns=UNWANTED, etag_timeout=TIMEOUT_S
        )
    except Exception as error:
        raise ModelError(
            f"{name}: the download failed: {_first_line(error)}", hint="run it again; it continues"
        ) from error
    return Place(Path(folder), name, info.sha)


def _from_cache(hub: Any, name: str, reason: Exception) -> Place:
    """Take the revision that was downloaded before, or say what is missing and why the hub gave no answer."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    why = "HF_HUB_OFFLINE is set" if offline else f"the hub does not answer ({type(reason).__name__})"
    try:
        config = hub.hf_hub_download(name, "config.json", local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"{name}: no such folder, config.json is not in the Hugging Face cache, and {why}",
            hint=f"run `hf download {name}` where there is a network, or give a model folder",
        ) from error
    folder = Path(config).parent
    return Place(folder, name, folder.name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
