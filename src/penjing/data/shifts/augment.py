"""Copies of rows under random combinations of distortions, to calibrate the ranges of activations with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penjing.data.row import Row
from penjing.data.shifts.distorter import Distorter
from penjing.data.shifts.inputs import InputsOf, MediaNames, checked_inputs
from penjing.data.shifts.registry import AUGMENTATIONS, Distortion, Modality, of_modality
from penjing.data.shifts.seeds import generator
from penjing.errors import DataError

MOST_IN_CHAIN = 3
ATTEMPTS = 8
"""A combination that leaves silence or one constant image is drawn anew, so many times at most."""


def augmented_rows(rows: Sequence[Row], inputs_of: InputsOf, seed: int, folder: Path, copies: int = 1) -> list[Row]:
    """Copies of rows in which each input is distorted by one to three augmentations of its modality.

    Args:
        rows: with unique ids; see `check_calibration_media` for what they must not hold.
        inputs_of: the columns that the model reads of a row.
        seed: of all random draws; with the ids it decides everything, the order of rows does not.
        folder: where distorted media are written, as by `shifted_rows`.
        copies: of each row; their ids end in `~1`, `~2`, …

    Returns:
        `copies` rows for each row, one after the other; the rows themselves are not among them.

    Raises:
        DataError: a row has nothing that the model reads, its media cannot be read, or nothing is left of them.
    """
    names = MediaNames(rows)
    distorter = Distorter(folder, seed, names)
    augmented: list[Row] = []
    for row in rows:
        inputs = checked_inputs(row, inputs_of)
        for number in range(1, copies + 1):
            copy = row
            for modality, columns in inputs.items():
                name = row.id if modality == "text" else names.of_row(row)
                copy = _augmented(distorter, copy, (modality, columns), (name, f"~{number}"))
            augmented.append(replace(copy, id=f"{row.id}~{number}"))
    return augmented


def _augmented(distorter: Distorter, row: Row, inputs: tuple[Modality, Sequence[str]], names: tuple[str, str]) -> Row:
    """Distort the columns of one modality by a chain that leaves something."""
    modality, columns = inputs
    for attempt in range(ATTEMPTS):
        variant = f"{names[1]}.{attempt}"
        chain = _drawn_chain(modality, distorter.seed, names[0], variant)
        copy, results = distorter.distorted(row, columns, chain, variant)
        if not any(result.is_empty for result in results):
            return copy
    raise DataError(
        f"row {row.id!r}: nothing is left of its {modality} in {ATTEMPTS} random distortions",
        hint="it is almost silent, blank or empty: leave it out of the calibration data",
    )


def _drawn_chain(modality: Modality, seed: int, name: str, variant: str) -> list[Distortion]:
    """One to three different augmentations in a random order."""
    rng = generator(seed, "augmentations", name, modality, variant)
    known = of_modality(AUGMENTATIONS, modality)
    return [known[index] for index in rng.permutation(len(known))[: rng.integers(1, MOST_IN_CHAIN + 1)]]
