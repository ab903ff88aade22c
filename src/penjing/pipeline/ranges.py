"""How often test rows, clean and shifted, leave the ranges that a result was calibrated to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from penjing.calibrate.out_of_range import has_ranges, out_of_range_shares
from penjing.data.row import Row
from penjing.data.shifts.rows import ShiftedSet
from penjing.judge.sight import is_read
from penjing.models.family import Model
from penjing.models.tower import Batch
from penjing.values import Metric, Tell

CLEAN_ROWS = 16
"""Clean test rows that are run: thousands of values a site in every one."""
ROWS_PER_KIND = 2
"""Shifted test rows that are run, of every kind."""
WARNED_SHARE = 0.001
"""Share of a site's values out of range that is worth a warning: a tenth of what refuses."""


@dataclass(frozen=True, slots=True)
class SiteRange:
    """Share of a site's input values out of range: on clean test rows, and under the kind of shift where it is largest.

    `shifted` is None and `kind` empty where no row was shifted.
    """

    site: str
    tower: str
    clean: float
    shifted: float | None
    kind: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def site_ranges(model: Model, rows: Sequence[Row], shifted: ShiftedSet | None, tell: Tell) -> tuple[SiteRange, ...]:
    """Run the towers of a result on some test rows and count the values that its grids clip.

    Those of a multimodal model are read behind clean ones: it takes from earlier rows what a row lacks.
    """
    if not rows or not has_ranges(model.towers):
        return ()
    tell("count activations out of range", 0, 0)
    first = _spread(_readable(model, rows))
    clean = _read(model, first)
    by_kind = {} if shifted is None else _by_kind(model, shifted)
    before, known = (first, len(clean)) if model.family.task == "multimodal" else ([], 0)
    kinds = {kind: _read(model, [*before, *members])[known:] for kind, members in by_kind.items()}
    sites = []
    for tower in model.towers:
        shares_by_kind = {kind: out_of_range_shares(tower, batches) for kind, batches in kinds.items()}
        for site, share in out_of_range_shares(tower, clean).items():
            under_shift = {kind: shares[site] for kind, shares in shares_by_kind.items() if site in shares}
            kind = max(under_shift, key=lambda name: under_shift[name], default="")
            sites.append(SiteRange(site, tower.name, share, under_shift.get(kind), kind))
    return tuple(sites)


def out_of_range(ranges: Sequence[SiteRange]) -> Metric:
    """The largest share of all sites and kinds of shift, over the sites; 0 where no site has a range."""
    value = max((site.shifted or 0.0 for site in ranges), default=0.0)
    return Metric(value, value, value, len(ranges))


def range_warnings(ranges: Sequence[SiteRange]) -> list[str]:
    """Warn of sites whose test inputs leave the calibrated range."""
    beyond = [site for site in ranges if _largest(site) > WARNED_SHARE]
    if not beyond:
        return []
    worst = max(beyond, key=_largest)
    count = f"{len(beyond)} {'site' if len(beyond) == 1 else 'sites'}"
    under = f" under {worst.kind}" if worst.kind and (worst.shifted or 0.0) > worst.clean else ""
    return [
        f"test rows leave the calibrated range at {count} for more than {100 * WARNED_SHARE:g}% of the values, most at "
        f"{worst.site} ({100 * _largest(worst):.2g}%{under}): calibrate on data more like them"
    ]


def _largest(site: SiteRange) -> float:
    return max(site.clean, site.shifted or 0.0)


def _spread(rows: Sequence[Row]) -> list[Row]:
    """Rows spread evenly over those given."""
    step = max(1.0, len(rows) / CLEAN_ROWS)
    return [rows[int(index * step)] for index in range(min(len(rows), CLEAN_ROWS))]


def _by_kind(model: Model, shifted: ShiftedSet) -> dict[str, list[Row]]:
    """The first rows of every kind of shift that the model reads; kinds without any are left out."""
    kinds: dict[str, list[Row]] = {}
    for row in shifted.rows:
        kinds.setdefault(row.kind, []).append(row.row)
    readable = {kind: _readable(model, members)[:ROWS_PER_KIND] for kind, members in kinds.items()}
    return {kind: members for kind, members in readable.items() if members}


def _readable(model: Model, rows: Sequence[Row]) -> list[Row]:
    """The rows that a model's task is for: of captions and questions a model may read one alone."""
    return [row for row in rows if is_read(model.family.task or "", row)]


def _read(model: Model, rows: Sequence[Row]) -> list[Batch]:
    return list(model.family.batches(model.settings, model.folder, rows)) if rows else []
