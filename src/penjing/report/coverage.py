"""The coverage table: what was compressed in each tower, what was left, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from penjing.report.document import Document, SitePart
from penjing.report.numbers import NOTHING


@dataclass(frozen=True, slots=True)
class MethodGroup:
    """Sites of one tower that one method compressed to about the same number of bits."""

    method: str
    bits: str
    sites: int
    parameters: int
    size_bytes: int
    worst_error: float | None


@dataclass(frozen=True, slots=True)
class LeftGroup:
    """Sites of one tower that were left alone for the same reason."""

    reason: str
    sites: tuple[str, ...]
    parameters: int


@dataclass(frozen=True, slots=True)
class TowerCoverage:
    """What was compressed in a tower, what was left and why. `share` is the compressed part of its weights."""

    tower: str
    compressed: tuple[MethodGroup, ...]
    left: tuple[LeftGroup, ...]
    sites: tuple[SitePart, ...]
    share: float | None


def coverage(document: Document) -> list[TowerCoverage]:
    """Group the sites by tower, in the order of the towers; sites of unlisted towers come last."""
    by_tower: dict[str, list[SitePart]] = {tower.name: [] for tower in document.towers}
    for site in document.coverage:
        by_tower.setdefault(site.tower, []).append(site)
    return [_tower_coverage(tower, sites) for tower, sites in by_tower.items() if sites]


def _tower_coverage(tower: str, sites: Sequence[SitePart]) -> TowerCoverage:
    """Group the sites of one tower by method and by reason."""
    done: dict[tuple[str, int], list[SitePart]] = {}
    left: dict[str, list[SitePart]] = {}
    for site in sites:
        if site.skipped:
            left.setdefault(site.skipped, []).append(site)
        else:
            done.setdefault((site.method, int(site.bits or 0)), []).append(site)
    total, changed = _parameters(sites), sum(_parameters(group) for group in done.values())
    return TowerCoverage(
        tower=tower,
        compressed=tuple(_method_group(method, group) for (method, _), group in done.items()),
        left=tuple(LeftGroup(why, tuple(s.site for s in group), _parameters(group)) for why, group in left.items()),
        sites=tuple(sites),
        share=changed / total if total else None,
    )


def _method_group(method: str, sites: Sequence[SitePart]) -> MethodGroup:
    """Sum up sites of one method and width."""
    errors = [site.error for site in sites if site.error is not None]
    size_bytes = sum(site.size_bytes for site in sites)
    widths = sorted({site.bits for site in sites if site.bits is not None})
    ends = dict.fromkeys(bits_text(width) for width in (*widths[:1], *widths[-1:]))
    bits = "–".join(ends) or NOTHING
    return MethodGroup(method, bits, len(sites), _parameters(sites), size_bytes, max(errors, default=None))


def bits_text(bits: float | None) -> str:
    """Stored bits per weight with at most two decimals: 4.5, 8, 8.03."""
    return NOTHING if bits is None else f"{bits:.2f}".rstrip("0").rstrip(".")


def _parameters(sites: Iterable[SitePart]) -> int:
    """Count the parameters of sites."""
    return sum(site.parameters for site in sites)
