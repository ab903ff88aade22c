"""penjing: compress multimodal models until they run well on an ordinary CPU.

The whole public API: `inspect`, `compress` (they need the extra `compress`), `evaluate` and `load` (torch-free for
artifacts). Importing the package loads none of the machine-learning libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.extras import workshop

if TYPE_CHECKING:
    from datasets import Dataset
    from torch.nn import Module

    from penjing.values import Tell

__all__ = ["__version__", "compress", "evaluate", "inspect", "load"]
__version__: str
import_module("penjing.evaluate")  # the room, now, or it would later take the name of the function below


def inspect(model: str | Path | Module, *, threads: int | None = None, tell: Tell | None = None) -> dict[str, Any]:
    """Towers, parameters, bytes, operations and measured milliseconds of a model or an artifact.

    Returns the document of `penjing inspect --json`.
    """
    with _call("pipeline.in_memory:checkpoint_of", model, "inspect") as name:
        document: dict[str, Any] = _call("pipeline.inspect:inspect", name, threads=threads, **_told(tell))
    return document


def compress(  # noqa: PLR0913 - the options of the command
    model: str | Path | Module | None,
    out: str | Path | Sequence[Mapping[str, Any] | str] | None = None,
    *,
    data: str | Path | Dataset | None = None,
    calibration: str | Path | Dataset | None = None,
    recipe: str | Path | Sequence[Mapping[str, Any] | str] | Mapping[str, Any] | None = None,
    goals: str | Sequence[str] = (),
    formats: str | Sequence[str] = (),
    engine: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quick: bool = False,
    tell: Tell | None = None,
    batches: Iterable[Any] | None = None,
    metric: Callable[[Any], float] | None = None,
) -> Any:
    """Compress a model folder or hub id into the artifact `out`; the arguments are those of `penjing compress`.

    A `PreTrainedModel` is saved beside `out` first; its tokenizer is taken from where it was loaded. `data` and
    `calibration` may be a `datasets.Dataset`, and `recipe` a list of steps.

    Returns the document of `penjing compress --json`. Raises `penjing.errors.GoalNotMet`, with that document as its
    `document`, when the gate refuses; nothing is published then.

    Any torch module can be compressed, too: `compress(module, recipe, batches=…, metric=…)` takes a list of steps,
    inputs of the module's forward, and a function from a module to a number; it returns a
    `penjing.pipeline.modules.Compressed`.
    """
    if batches is not None or metric is not None:
        steps = out if recipe is None else recipe
        unread = {
            "data": data, "calibration": calibration, "goals": goals, "formats": formats, "threads": threads,
            "seed": seed, "resume": resume, "overwrite": overwrite, "quick": quick,
        }  # fmt: skip
        _call("pipeline.modules:check_options", unread)
        options = {"batches": () if batches is None else batches, "metric": metric}
        return _call("pipeline.modules:compress_module", model, steps, **options, **_told(tell))
    choices = _call(
        "pipeline.job:Options", _path(data), _path(calibration), _path(recipe), _list(goals), _list(formats), engine,
        threads, seed, resume, overwrite, quick,
    )  # fmt: skip
    return _call("pipeline.compress:compress_any", model, out, choices, **_told(tell))


def evaluate(  # noqa: PLR0913 - the options of the command
    model: str | Path | Module,
    data: str | Path | Dataset,
    *,
    against: str | Path | Module | None = None,
    task: str | None = None,
    goals: str | Sequence[str] = (),
    engine: str = "auto",
    threads: int | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Measure a model, an artifact or an index on data, alone or against another; artifacts need no torch.

    Returns the document of `penjing evaluate --json`. Raises `penjing.errors.GoalNotMet`, with that document as its
    `document`, where a goal was missed.
    """
    options = {"task": task, "goals": _list(goals), "engine": engine, "threads": threads}
    with ExitStack() as stack:
        name, other = (
            None if given is None else stack.enter_context(_call("pipeline.in_memory:checkpoint_of", given, "evaluate"))
            for given in (model, against)
        )
        document: dict[str, Any] = _call(
            "pipeline.evaluate:evaluate", name, _path(data), against=other, **options, **_told(tell)
        )
    return document


def load(
    path: str | Path, engine: str = "auto", threads: int | None = None, *, exact: bool = False, warm_up: bool = True
) -> Any:
    """Open an artifact as a runner of its task, without torch; see `penjing.runtimes.load`.

    The name `seedling` opens the model that penjing brings along; it runs in PyTorch (extra `compress`).
    """
    return _call("pipeline.use:load", path, engine, threads, exact=exact, warm_up=warm_up)


def _path(given: Any) -> Any:
    """A path as the text that the command line gives; anything else as it is."""
    return str(given) if isinstance(given, Path) else given


def _list(given: str | Sequence[str]) -> Sequence[str]:
    """One text as a list of one: its letters are meant by nobody."""
    return (given,) if isinstance(given, str) else given


def _told(tell: Tell | None) -> dict[str, Any]:
    return {} if tell is None else {"tell": tell}


def _call(place: str, *args: Any, **options: Any) -> Any:
    """Import a function when it is called; where a package that it needs is not installed, say how to get it."""
    module, _, name = place.partition(":")
    with workshop():
        return getattr(import_module(f"penjing.{module}"), name)(*args, **options)


def __getattr__(name: str) -> Any:
    """Look the version up when it is asked for: reading package metadata takes longer than the rest of this import."""
    if name == "__version__":
        from importlib.metadata import version

        return version("penjing")
    raise AttributeError(f"module 'penjing' has no attribute {name!r}")
