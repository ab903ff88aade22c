"""How often test rows, clean and shifted, leave the ranges that a result was calibrated to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from penjing.calibrate.out_of_range import has_ranges, out_of_range_shares
from penjing.data.row import Row
from penjing.data.shifts.rows import ShiftedSet
from penjing.models.family import Model
from penjing.values import Tell

ROWS = 16
"""Rows of each kind that are run: thousands of values a site in every one."""
WARNED_SHARE = 0.001
"""Share of a site's values out of range that is worth a warning: the calibration of commit 0f339f2, which cost Whisper
tiny.en 12 points of WER on recordings of people, is told apart from one that cost nothing by it (docs/shift.md)."""


@dataclass(frozen=True, slots=True)
class SiteRange:
    """Share of a site's input values out of range, on clean test rows and on shifted ones."""

    site: str
    tower: str
    clean: float
    shifted: float | None

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def site_ranges(model: Model, rows: Sequence[Row], shifted: ShiftedSet | None, tell: Tell) -> tuple[SiteRange, ...]:
    """Run the towers of a result on some test rows and count the values that its grids clip."""
    if not rows or not has_ranges(model.towers):
        return ()
    tell("count activations out of range", 0, 0)
    clean = _batches(model, rows)
    under_shift = None if shifted is None else _batches(model, [row.row for row in shifted.rows])
    sites = []
    for tower in model.towers:
        shares = out_of_range_shares(tower, clean)
        worse = {} if under_shift is None else out_of_range_shares(tower, under_shift)
        sites += [SiteRange(site, tower.name, share, worse.get(site)) for site, share in shares.items()]
    return tuple(sites)


def range_warnings(ranges: Sequence[SiteRange]) -> list[str]:
    """Warn of sites whose test inputs leave the calibrated range."""
    largest = {site.site: max(site.clean, site.shifted or 0.0) for site in ranges}
    beyond = sorted((site for site, share in largest.items() if share > WARNED_SHARE), key=lambda site: -largest[site])
    if not beyond:
        return []
    count = f"{len(beyond)} {'site' if len(beyond) == 1 else 'sites'}"
    return [
        f"test rows leave the calibrated range at {count} for more than {100 * WARNED_SHARE:g}% of the values, most at "
        f"{beyond[0]} ({100 * largest[beyond[0]]:.2g}%): calibrate on data more like them"
    ]


def _batches(model: Model, rows: Sequence[Row]) -> list[Any]:
    """Inputs of the towers from rows spread evenly over those given."""
    step = max(1.0, len(rows) / ROWS)
    chosen = [rows[int(index * step)] for index in range(min(len(rows), ROWS))]
    return list(model.family.batches(model.settings, model.folder, chosen))
