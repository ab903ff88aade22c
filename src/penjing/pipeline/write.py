"""Put what was measured into the documents people and programs read: report, manifest, card."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from penjing.artifact.checkpoint import OWN_LAYOUT, Layout
from penjing.artifact.manifest import FORMAT, NAME, file_hashes, write_json
from penjing.evaluate.slices import MIN_SLICE_ITEMS
from penjing.extras import have
from penjing.methods.base import RoundsActivations
from penjing.models.family import Model
from penjing.pipeline.engines import EngineResult
from penjing.pipeline.job import Job
from penjing.pipeline.judging import Judgement
from penjing.pipeline.machine import describe_machine
from penjing.pipeline.material import RangeRows
from penjing.pipeline.measure import Comparison
from penjing.pipeline.provenance import data_json, seen_rows, shared_warnings
from penjing.pipeline.ranges import range_warnings
from penjing.pipeline.steps import StepDone
from penjing.recipe import Recipe

PACKAGES = ("penjing", "torch", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy", "tokenizers")
SAMPLES = 20
MOST_NAMES = 8
"""Names that a warning lists."""
RESULT_KEYS = (
    "artifact", "published", "goals", "source", "result", "towers", "coverage", "seconds", "data", "shift", "slices",
    "engines", "warnings",
)  # fmt: skip


def report_document(
    job: Job, model: Model, recipe: Recipe, done: Sequence[StepDone], comparison: Comparison, ranges: RangeRows | None
) -> dict[str, Any]:
    """Everything of the document that report.json, the manifest and the HTML report share but verdict and tables.

    See report/document.py. No folder of this machine is in it.
    """
    augmented = any(isinstance(step.method, RoundsActivations) and step.method.augment for step in recipe.steps)
    judgement, seen = comparison.judgement, seen_rows(job, recipe, ranges)
    test = job.parts.judge if job.parts else ()
    return {
        "format": FORMAT,
        "task": model.family.task,
        "model": {
            **model.source,
            "family": model.family.name,
            "architecture": type(model.net).__name__,
            "task": model.family.task,
        },
        "artifact": job.out.name,
        "warnings": [
            *model.settings.get("notes", ()),
            *warnings(comparison),
            *judgement.warnings,
            *shared_warnings(seen, test),
            *(range_warnings(comparison.ranges)),
            *engine_warnings(comparison.engines),
            *slice_warnings(judgement),
            *(["judged without shift and in one engine alone: --quick"] if job.quick and test else []),
            *remarks(done),
        ],
        "source": comparison.source.as_json(),
        "result": comparison.result.as_json(),
        "reference": comparison.reference.as_json() if comparison.reference else None,
        "changes": {name: change.as_json() for name, change in comparison.changes.items()},
        "steps": [{**step_json(step), "seconds": step.seconds} for step in done],
        "recipe": recipe.as_yaml(),
        "data": data_json(job, seen, ranges, augmented),
        "quick": job.quick,
        "shift": judgement.shift.as_json() if judgement.shift else None,
        "slices": [slice_.as_json() for slice_ in judgement.slices],
        "engines": {engine.engine: engine.as_json() for engine in comparison.engines},
        "ranges": [site.as_json() for site in comparison.ranges],
        "samples": samples(comparison),
        "machine": describe_machine(comparison.result.threads),
        "versions": package_versions(),
        "created": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def step_json(done: StepDone) -> dict[str, Any]:
    """A step as the report shows it."""
    settings = {key: value for key, value in done.step.as_json().items() if key not in ("method", "towers")}
    return {"method": done.step.method.name, "settings": settings, "towers": [*done.step.towers]}


def warnings(comparison: Comparison) -> list[str]:
    """What refuses nothing and is worth knowing."""
    before, after = comparison.source.p50_ms, comparison.result.p50_ms
    if before and after and after >= before:
        return [f"not faster: {after:.1f} ms per item, the source takes {before:.1f} ms in the same engine"]
    return []


def engine_warnings(engines: Sequence[EngineResult]) -> list[str]:
    """Engines that are not claimed, and those whose results differ from the run's by more than the tolerance."""
    lines = [f"{engine.engine} is not claimed: {'; '.join(engine.reasons)}" for engine in engines if not engine.claimed]
    return lines + [f"engines differ: {difference}" for engine in engines for difference in engine.differences]


def slice_warnings(judgement: Judgement) -> list[str]:
    """Slices of too few rows to be judged, and rows that shift left without content."""
    lines = []
    if judgement.small_slices:
        names = ", ".join(judgement.small_slices[:MOST_NAMES])
        more = (
            f" and {len(judgement.small_slices) - MOST_NAMES} more" if len(judgement.small_slices) > MOST_NAMES else ""
        )
        lines.append(f"slices of fewer than {MIN_SLICE_ITEMS} rows are not judged: {names}{more}")
    if judgement.shift and judgement.shift.left_out:
        count = len(judgement.shift.left_out)
        kinds = ", ".join(sorted({kind for _, kind in judgement.shift.left_out}))
        lines.append(f"left out under shift, as nothing was left in them: {count} rows ({kinds})")
    return lines


def remarks(done: Sequence[StepDone]) -> list[str]:
    """What steps remarked of sites they changed, each remark once with the number of sites."""
    found = Counter((note.method, note.remark) for step in done for note in step.notes if note.remark)
    return [
        f"{method}: {count} {'site' if count == 1 else 'sites'}: {remark}" for (method, remark), count in found.items()
    ]


def layout_warnings(layout: Layout | None) -> list[str]:
    """What is worth knowing of a checkpoint's layout: why only penjing opens it, or what that costs if not."""
    if layout is None or not layout.note:
        return []
    if layout.layout == OWN_LAYOUT:
        return [f"checkpoint/ opens in penjing only: {layout.note}"]
    return [f"checkpoint/ opens in transformers, which takes {layout.note}"]


def samples(comparison: Comparison) -> list[dict[str, str]]:
    """Judged items of which source and result say different things."""
    outputs = comparison.judgement.outputs
    if not outputs:
        return []
    source, result = (outputs[name].transcripts for name in ("source", "result"))
    different = [key for key in source if source[key][1] != result[key][1]]
    return [
        {"id": key, "reference": source[key][0], "source": source[key][1], "result": result[key][1]}
        for key in different[:SAMPLES]
    ]


def package_versions() -> dict[str, str]:
    """Versions of the packages that shape the result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_artifact(folder: Path, model: Model, document: Mapping[str, Any]) -> None:
    """Write recipe, reports, card and, last, the manifest with the hash of every file."""
    from penjing.report.card import write_card
    from penjing.report.document import parse

    (folder / "recipe.yaml").write_text(document["recipe"], encoding="utf8")
    write_report(folder, document)
    write_card(parse(document), folder / "README.md")
    manifest = {**finite(document), "settings": dict(model.settings)}
    write_json(folder / NAME, {**manifest, "files": file_hashes(folder)})


def write_report(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write report.json, and report.html where the packages for it are installed; returns the one to read."""
    from penjing.report.document import parse
    from penjing.report.html import write_report as write_page

    write_json(folder / "report.json", finite(document))
    if not (have("matplotlib") and have("jinja2")):
        return folder / "report.json"
    write_page(parse(document), folder / "report.html")
    return folder / "report.html"


def result_json(document: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The document of `compress --json` (design section 6)."""
    found: dict[str, Any] = finite({key: document[key] for key in RESULT_KEYS}) | {"artifact": str(out)}
    return found


def finite(value: Any) -> Any:
    """A document with null for the numbers that JSON cannot say: a ruined model measures NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, (list, tuple)) else value
