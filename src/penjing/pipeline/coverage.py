"""What became of every site and every tower: the coverage table, told from the notes of all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from penjing.layers.bitmap import TABLED, stored_bytes
from penjing.layers.half import half_tensors
from penjing.methods import known_methods
from penjing.models.family import Model
from penjing.models.tower import Site
from penjing.pipeline.steps import StepDone
from penjing.values import Note

UNTOUCHED = "no step of the recipe is for it"


class Found(NamedTuple):
    """A site as it was before anything was compressed."""

    tower: str
    kind: str
    parameters: int


def source_sites(model: Model) -> dict[str, Found]:
    """Every site by its name, counted before anything is compressed."""
    return {
        name: Found(tower.name, site.kind, site.weight_count)
        for tower in model.towers
        for name, site in tower.sites.items()
    }


def coverage_table(model: Model, done: Sequence[StepDone], source: Mapping[str, Found]) -> list[dict[str, Any]]:
    """One row per site: the last step that changed it, else the last reason it was left, else that none was for it.

    A site that is gone has no bytes. One that a step made has none of the source's parameters, and neither has a block
    that does less work than it did.
    """
    notes: dict[str, Note] = {}
    for step in done:
        for note in step.notes:
            earlier = notes.get(note.site)
            if earlier is None or not note.skipped or not earlier.is_changed:
                notes[note.site] = _continued(note, earlier)
    sites = {name: site for tower in model.towers for name, site in tower.sites.items()}
    made = {name: found._replace(parameters=0) for name, found in source_sites(model).items() if name not in source}
    beside = {
        note.site: Found(note.tower, "block", 0)
        for note in notes.values()
        if note.change and note.site not in source and note.site not in made
    }
    places = _in_order({**beside, **source, **made}, model)
    return [_row(name, found, sites.get(name), notes.get(name)) for name, found in places]


def _continued(note: Note, earlier: Note | None) -> Note:
    """A note that also tells what an earlier step changed of the site's shape."""
    learned = earlier is not None and not earlier.skipped and _only_learned(note)
    if earlier is None or note.skipped or not (earlier.change or learned):
        return note
    method = note.method if note.method == earlier.method else f"{earlier.method}, {note.method}"
    change = "; ".join(dict.fromkeys(filter(None, (earlier.change, note.change))))
    return replace(note, method=method, change=change, error=note.error or (earlier.error if learned else 0.0))


def _only_learned(note: Note) -> bool:
    """Whether a step only taught the site something: what is stored, and how, is the earlier step's work."""
    kind = known_methods().get(note.method)
    return kind is not None and kind.learns


def _in_order(found: Mapping[str, Found], model: Model) -> list[tuple[str, Found]]:
    """Tower by tower; within one, sites of the source as they were and what became of them behind."""
    places = {tower.name: place for place, tower in enumerate(model.towers)}
    return sorted(found.items(), key=lambda item: places.get(item[1].tower, len(places)))


def _row(name: str, found: Found, site: Site | None, note: Note | None) -> dict[str, Any]:
    changed = note is not None and not note.skipped
    size_bytes, bits = 0, note.bits if note and changed else 32.0
    if site is not None:
        size_bytes = note.size_bytes if note and changed else 4 * site.weight_count
        if changed and isinstance(site.module, TABLED):  # its blocks may have become smaller since
            size_bytes = stored_bytes(site.module)
            bits = 8.0 * size_bytes / site.weight_count
    return {
        "site": name,
        "tower": found.tower,
        "kind": found.kind,
        "method": note.method if note and changed else "",
        "bits": bits,
        "error": note.error if note and changed else 0.0,
        "change": note.change if note and changed else "",
        "skipped": "" if changed else note.skipped if note else UNTOUCHED,
        "parameters": found.parameters,
        "size_bytes": size_bytes,
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
