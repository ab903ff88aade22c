"""The report as one HTML file: no scripts, nothing loaded from anywhere, every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.extras import need
from penjing.report import numbers, plots, provenance
from penjing.report.coverage import bits_text, coverage
from penjing.report.document import Document, RangePart
from penjing.report.rows import comparison, headlines
from penjing.report.shift_plot import shift_plot
from penjing.report.transcripts import pieces
from penjing.report.waterfall import steps_plot

TEMPLATES = Path(__file__).parent / "templates"
MOST_SAMPLES = 60
MOST_RANGES = 12
"""Sites of which the shares out of range are listed."""


def render(document: Document) -> str:
    """Make the page. Needs the extra `report` (jinja2, matplotlib)."""
    jinja2 = need("jinja2", "report")
    safe = need("markupsafe", "report").Markup
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {
        "bytes": numbers.bytes_text,
        "ms": numbers.ms_text,
        "seconds": numbers.seconds_text,
        "count": numbers.count_text,
        "share": numbers.share_text,
        "bits": bits_text,
        "shortfall": numbers.shortfall_text,
        "factor": numbers.factor_text,
        "label": numbers.label,
        "measure": lambda value, name: numbers.value_text(name, value),
        "loss": provenance.loss_text,
        "interval": provenance.interval_text,
        "allowed": lambda value, name: numbers.difference_text(name, value),
    }
    drawings = {
        name: safe(draw(document))
        for name, draw in {
            "quality": plots.quality_plot,
            "bytes": plots.bytes_plot,
            "ms": plots.ms_plot,
            "sites": plots.sites_plot,
            "steps": steps_plot,
            "shift": shift_plot,
        }.items()
    }
    text: str = page.get_template("report.html.j2").render(
        d=document,
        headlines=headlines(document),
        rows=comparison(document),
        towers=coverage(document),
        plots=drawings,
        samples=_samples(document),
        most_sites=plots.MOST_SITES,
        data_lines=provenance.data_lines(document.data) if document.data else [],
        ranges=_ranges(document),
        compressed=sum(not site.skipped for site in document.coverage),
    )
    return text


def write_report(document: Document, path: Path) -> None:
    """Write the page to a file."""
    path.write_text(render(document), encoding="utf8")


def _ranges(document: Document) -> list[RangePart]:
    """Sites whose test inputs leave the calibrated range most; those that never do are left out."""
    reached = [site for site in document.ranges if site.clean or site.shifted]
    return sorted(reached, key=lambda site: -max(site.clean or 0.0, site.shifted or 0.0))[:MOST_RANGES]


def _samples(document: Document) -> list[dict[str, Any]]:
    """Mark the words that differ from the reference, or from the source where nothing says what is right."""
    return [
        {
            "id": sample.id,
            "reference": sample.reference,
            "source": pieces(sample.reference or sample.source, sample.source, sample.language),
            "result": pieces(sample.reference or sample.source, sample.result, sample.language),
        }
        for sample in document.samples[:MOST_SAMPLES]
    ]
