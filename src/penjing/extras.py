"""The one door for optional packages."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType

from penjing.errors import MissingExtra

EXTRAS = {
    "openvino": ("openvino",),
    "compress": (
        "accelerate", "datasets", "huggingface_hub", "onnx", "onnxscript", "pyarrow", "safetensors", "scipy", "torch",
        "transformers",
    ),
    "train": ("peft",),
    "search": ("faiss",),
    "assist": ("Stemmer", "bm25s"),
    "serve": ("fastapi", "multipart", "prometheus_client", "uvicorn"),
    "media": ("av", "pillow_heif", "pypdf"),
    "report": ("jinja2", "markupsafe", "matplotlib"),
}  # fmt: skip
"""The packages that each extra brings."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say exactly how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise _missing(module, extra) from error


def have(module: str) -> bool:
    """Return whether an optional package is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


@contextlib.contextmanager
def workshop() -> Iterator[None]:
    """Let code import packages of an extra plainly: where one is not installed, say exactly how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                raise _missing(package, extra) from error
        raise


def _missing(module: str, extra: str) -> MissingExtra:
    return MissingExtra(f"{module} is not installed", hint=f'pip install "penjing[{extra}]"')
