"""What became of every site and every tower: the coverage table, told from the notes of all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penjing.layers.half import half_tensors
from penjing.models.family import Model
from penjing.models.tower import Site, Tower
from penjing.pipeline.steps import StepDone
from penjing.values import Note

UNTOUCHED = "no step of the recipe is for it"


def site_parameters(model: Model) -> dict[str, int]:
    """Weights per site, counted before anything is compressed."""
    return {name: site.weight.numel() for tower in model.towers for name, site in tower.sites.items()}


def coverage_table(model: Model, done: Sequence[StepDone], parameters: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row per site: the last step that changed it, else the last reason it was left, else that none was for it."""
    notes: dict[str, Note] = {}
    for step in done:
        for note in step.notes:
            earlier = notes.get(note.site)
            if earlier is None or not note.skipped or not earlier.is_compressed:
                notes[note.site] = note
    return [
        _row(tower, site, notes.get(name), parameters[name])
        for tower in model.towers
        for name, site in tower.sites.items()
    ]


def _row(tower: Tower, site: Site, note: Note | None, parameters: int) -> dict[str, Any]:
    changed = note is not None and not note.skipped
    return {
        "site": site.name,
        "tower": tower.name,
        "kind": site.kind,
        "method": note.method if note and changed else "",
        "bits": note.bits if note and changed else 32.0,
        "error": note.error if note and changed else 0.0,
        "skipped": "" if changed else note.skipped if note else UNTOUCHED,
        "parameters": parameters,
        "size_bytes": note.size_bytes if note and changed else 4 * parameters,
    }


def tower_table(
    model: Model, coverage: Sequence[Mapping[str, Any]], sizes: Mapping[str, int], ms: Mapping[str, tuple[float, float]]
) -> list[dict[str, Any]]:
    """One row per tower. `sizes` are its parameters before anything was compressed, `ms` its graph before and after."""
    halves = half_tensors(model.net)
    own = dict(model.net.named_parameters())
    rows = []
    for tower in model.towers:
        sites = [row for row in coverage if row["tower"] == tower.name]
        weights = {name for site in tower.sites.values() for name in site.weight_names}
        rest = [name for name in tower.parameter_names if name not in weights]
        rest_bytes = sum((2 if name in halves else 4) * own[name].numel() for name in rest if name in own)
        before, after = ms.get(tower.name, (None, None))
        rows.append(
            {
                "name": tower.name,
                "role": tower.role,
                "modality": tower.modality,
                "blocks": len(tower.blocks),
                "parameters": sizes[tower.name],
                "size_bytes_before": 4 * sizes[tower.name],
                "size_bytes_after": sum(row["size_bytes"] for row in sites) + rest_bytes,
                "p50_ms_before": before,
                "p50_ms_after": after,
            }
        )
    return rows


def tower_parameters(model: Model) -> dict[str, int]:
    """Parameters per tower, counted before anything is compressed."""
    own = dict(model.net.named_parameters())
    return {tower.name: sum(own[name].numel() for name in tower.parameter_names) for tower in model.towers}
