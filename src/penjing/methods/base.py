"""What a method is: frozen settings with one verb. Its name registers it; what it did comes out as notes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.data.row import Row
from penjing.errors import DataError, RecipeError, did_you_mean
from penjing.models.family import Model
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.runtimes.engine import Engine, choose_engine
from penjing.values import Note, Tell, silent


@dataclass(frozen=True, eq=False, slots=True)
class Aids:
    """What every method is handed besides its target; layer-local methods ignore most of it.

    `select` are batches kept apart from calibration: strengths and float sites are chosen on them. `tell` takes
    (what is being done, items done, items in all) where a method works for longer than a second between two notes.
    `engine` will run the result; where it runs no graphs, `timed_by` is the one that would. `teacher` opens the source
    once more, as it was before any step. `select_rows` are what `select` was made of, where it was made of rows.
    """

    model: Model
    select: Sequence[Batch]
    seed: int
    scratch: Path
    tell: Tell = silent
    engine: Engine | None = None
    teacher: Callable[[], Model] | None = None
    select_rows: Sequence[Row] = ()

    @property
    def timed_by(self) -> Engine:
        """The engine to measure products in."""
        return timing_engine(self.engine)


def timing_engine(engine: Engine | None) -> Engine:
    """The engine that products are measured in: the one that will run the result, where that runs graphs."""
    if engine is None or engine.name == "torch":
        return choose_engine(threads=torch.get_num_threads(), cache=False)
    return engine


class Method(BaseModel, ABC):
    """Settings of a compression method and the work itself.

    `apply` gets one tower after the other; a method that looks at all of them at once has its own `apply_all`. `roles`
    are the roles it is meant for when a recipe names no towers. `needs_data` methods walk over calibration batches. A
    method that does not store (`stores` false) leaves floats as many as they were and only makes them easier to
    compress: its notes say 32 bits. One that changes no weights (`changes_weights` false) has no sites: what it rounds
    is made while the model runs. After one that `restructures`, layers have other shapes or are others: towers and
    sites are found anew. After one that `renames_tokens`, numbers of tokens mean other ones: data is read anew, and
    only what comes of texts can be compared with the source. One that `learns` trains what is there; shapes, masks and
    grids stay, and its notes tell what sites are stored in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector", "embedding", "head")
    needs_data: ClassVar[bool] = False
    stores: ClassVar[bool] = True
    changes_weights: ClassVar[bool] = True
    restructures: ClassVar[bool] = False
    renames_tokens: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    sites: tuple[str, ...] = Field((), description="globs of site names; all sites the method fits when empty")

    @abstractmethod
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Compress the target in place and yield a note for every site it looked at."""

    def apply_all(self, targets: Sequence[Tower], batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Compress every tower the step is for, one after the other."""
        for target in targets:
            yield from self.apply(target, batches, aids)

    @property
    def alters_prompts(self) -> str:
        """How the tokens that a model is fed are others afterwards, so that data is read anew and outputs compare with
        nothing; empty where they are the same.
        """
        return "gives tokens other numbers" if self.renames_tokens else ""

    @property
    def reads(self) -> str | None:
        """The data set that the work reads by itself, by its name, if any; what judges may not be in it."""
        return None

    def inputs_key(self, engine: Engine | None) -> str:
        """What the result depends on besides the model, the calibration rows and the settings; for --resume.

        Args:
            engine: will run the result.

        Returns:
            Content, not names, of what the settings name (data sets, files, other models), and the engine where the
            work measures times in it; empty where there is nothing of the kind.
        """
        return ""

    @property
    def leaves_codes(self) -> bool:
        """Whether sites hold integer codes afterwards."""
        return self.stores

    def fits(self, site: Site) -> bool:
        """Return whether the method can compress this kind of site."""
        return True

    def conflict(self, earlier: Method) -> str:
        """Say why this method cannot follow an earlier one on the same tower; empty where it can."""
        return ""

    def misfit(self, tower: Tower, model: Model) -> str:
        """Say, before work starts, why the method can do nothing with a whole tower; empty where it can."""
        return ""

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Raise RecipeError, before any work starts, for what cannot be done to these towers of a model."""

    def refuse_after(self, earlier: Sequence[Method], model: Model, targets: Sequence[Tower]) -> None:
        """The same of a model that earlier steps will have changed by then."""
        self.refuse(model, targets)

    def refuse_rows(self, model: Model, calibrate: Sequence[Row], select: Sequence[Row]) -> None:
        """Raise DataError, before any work starts, for rows that the work makes no sense on."""

    def folder(self, model: Model, scratch: Path) -> Path:
        """Where configuration and tokenizer are after the work: where they were, unless it wrote others."""
        return model.folder

    def runs(self, items: int) -> float:
        """About how many runs of a tower the work takes with so many calibration items; for an estimate beforehand."""
        return 3.0 * items if self.needs_data else 0.0

    def takes(self) -> float:
        """Seconds that the settings give the work, whatever the model is; for an estimate beforehand."""
        return 0.0

    def keeps_bytes(
        self, model: Model, towers: Sequence[Tower], batches: Sequence[Batch], per_row: float, held: int
    ) -> float:
        """Bytes that work on towers keeps on disk beside the model.

        Of data of its own, a row is `per_row` items; so many further items are `held` out of the work.
        """
        return 0.0

    def require(self, batches: Sequence[Batch]) -> None:
        """Refuse to go on without calibration data."""
        if not batches:
            raise DataError(f"{self.name} needs calibration data", hint="give --data or --calibration")

    def chosen(self, tower: Tower) -> list[Site]:
        """Sites of a tower that the recipe's globs name and the method fits."""
        return [
            site
            for name, site in tower.sites.items()
            if self.fits(site) and (not self.sites or any(fnmatchcase(name, glob) for glob in self.sites))
        ]

    def run(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> list[Note]:
        """Apply to the end: a generator that nobody drains does nothing."""
        return list(self.apply(target, batches, aids))


class RoundsActivations(Method, ABC):
    """A method that rounds activations: what that costs differs from recording to recording and from image to image.

    Its choices are made on validation rows of the user's data and of the built-in material of the task.
    """

    augment: bool = Field(True, description="calibrate and choose on augmented copies of the rows, too")


class RangeCalibrated(RoundsActivations, ABC):
    """A method that measures ranges of activations: what calibration never reached is clipped in use.

    Its batches come from the calibration part of the user's data and from the built-in material of the task.
    """

    needs_data: ClassVar[bool] = True


METHODS: dict[str, type[Method]] = {}
AnyMethod = TypeVar("AnyMethod", bound=type[Method])


def method(name: str) -> Callable[[AnyMethod], AnyMethod]:
    """Register a method class under the name recipes use."""

    def register(cls: AnyMethod) -> AnyMethod:
        cls.name = name
        METHODS[name] = cls
        return cls

    return register


def known_methods() -> dict[str, type[Method]]:
    """All methods: ours, and those that installed packages offer as entry points of the group `penjing.methods`."""
    for entry in entry_points(group="penjing.methods"):
        if entry.name not in METHODS:
            METHODS[entry.name] = entry.load()
    return dict(sorted(METHODS.items()))


def make(name: str, settings: dict[str, Any]) -> Method:
    """Build a method from a recipe step; a typo in name or key is an error with the nearest known one."""
    known = known_methods()
    if name not in known:
        raise RecipeError(f"no method called {name!r}", hint=did_you_mean(name, [*known]))
    try:
        return known[name](**settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(key, [*known[name].model_fields])
            raise RecipeError(f"method {name!r} has no setting {key!r}", hint=hint) from None
        said = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else first["msg"].lower()
        raise RecipeError(
            f"method {name!r}: {': '.join(filter(None, (key, said)))}",
            hint=f"`penjing methods {name}` explains its settings",
        ) from None


def not_finite(site: str, item: int | None) -> DataError:
    """What to say of a site whose inputs hold NaN or infinity, first in that calibration item (from 0)."""
    where = "" if item is None else f" in calibration item {item + 1}"
    return DataError(f"{site} sees inputs that are not finite{where}", hint="look for NaN or inf in data and weights")
