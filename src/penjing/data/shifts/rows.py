"""The rows of the gate once more, each under one distortion of a fixed strength."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penjing.data.row import Row
from penjing.data.shifts.distorter import Distorter
from penjing.data.shifts.inputs import Inputs, InputsOf, MediaNames, checked_inputs
from penjing.data.shifts.registry import GATE_SHIFTS, Distortion
from penjing.data.shifts.seeds import digest_of


@dataclass(frozen=True, slots=True)
class ShiftedRow:
    """A row with one of its inputs distorted; its id and everything else are the same. `kind` names the distortion."""

    row: Row
    kind: str


@dataclass(frozen=True, slots=True)
class ShiftedSet:
    """Rows of which each is distorted once, in the order they were given."""

    rows: tuple[ShiftedRow, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """(row id, kind) where silence, one constant image or an empty text was left."""
    unchanged: tuple[tuple[str, str], ...] = ()
    """(row id, kind) of `rows` in which the distortion changes nothing: no punctuation was there, no case, no band."""


def shifted_rows(rows: Sequence[Row], inputs_of: InputsOf, seed: int, folder: Path) -> ShiftedSet:
    """Distort every row once, by one of the kinds that fit one of its inputs.

    Kinds are dealt in turns, so that each gets an equal number of rows (±1) among those with the same inputs. Rows that
    share a file and have the same inputs get the same kind and the same distorted file. What a row gets depends on the
    seed and the ids alone, not on the order of rows.

    Args:
        rows: with unique ids.
        inputs_of: the columns that the model reads of a row.
        seed: of all random draws.
        folder: where distorted media are written without loss: WAV (float32, mono, the rate of the file) and PNG (the
            longest side at most 1536 pixels).

    Raises:
        DataError: a row has nothing that the model reads, or its media cannot be read.
    """
    inputs = {row.id: checked_inputs(row, inputs_of) for row in rows}
    names = MediaNames(rows)
    kinds = _dealt_kinds(rows, inputs, names, seed)
    distorter = Distorter(folder, seed, names)
    shifted: list[ShiftedRow] = []
    left_out: list[tuple[str, str]] = []
    unchanged: list[tuple[str, str]] = []
    for row in rows:
        kind = kinds[row.id]
        new_row, results = distorter.distorted(row, inputs[row.id][kind.modality], (kind,))
        if any(result.is_empty for result in results):
            left_out.append((row.id, kind.name))
            continue
        shifted.append(ShiftedRow(new_row, kind.name))
        if all(result.is_unchanged for result in results):
            unchanged.append((row.id, kind.name))
    return ShiftedSet(tuple(shifted), tuple(left_out), tuple(unchanged))


def _dealt_kinds(rows: Sequence[Row], inputs: dict[str, Inputs], names: MediaNames, seed: int) -> dict[str, Distortion]:
    """row id -> its kind: files of the same inputs, in an order drawn by the seed, take the kinds in turns."""
    groups: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[tuple(inputs[row.id])][names.of_row(row)].append(row.id)
    kinds: dict[str, Distortion] = {}
    for modalities, members in groups.items():
        fitting = [kind for kind in GATE_SHIFTS if kind.modality in modalities]
        fitting.sort(key=lambda kind: digest_of(seed, "kind", kind.name))
        for rank, name in enumerate(sorted(members, key=lambda name: digest_of(seed, "row", name))):
            kinds |= dict.fromkeys(members[name], fitting[rank % len(fitting)])
    return kinds
