"""The JSON document that every report is made from: `report.json`, and the `penjing.json` manifest holds the same keys.

A field that was not measured is null or left out. Numbers that are not finite count as not measured. Unknown keys are
kept out of the way, so that a report of a newer penjing still opens. Units are in the names; shares run from 0 to 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from penjing.bounded_json import UnreadableJson, read_object
from penjing.errors import ArtifactError

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of writing."""


def _finite(value: object) -> object:
    """Read NaN and infinity as not measured."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _clean(value: object) -> object:
    """Drop control characters from all texts of a JSON value, but for tabs and line ends."""
    if isinstance(value, str):
        return CONTROL.sub("", value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
Count = Annotated[int | None, BeforeValidator(_finite)]


class Part(BaseModel):
    """Base of all parts: read-only, forgiving towards unknown keys, free of characters that steer a terminal."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _printable(cls, content: object) -> object:
        """Clean every text before it is read."""
        return _clean(content)


class MetricPart(Part):
    """A quality with its 95% interval over n items; in `changes`, result - source of the same items."""

    value: Number = None
    low: Number = None
    high: Number = None
    n: int = 0


class MeasuresPart(Part):
    """`measures` of the design: what was measured of one model in one engine."""

    engine: str = ""
    threads: int = 0
    size_bytes: Count = None
    checkpoint_bytes: Count = None
    p50_ms: Number = None
    p95_ms: Number = None
    peak_rss_bytes: Count = None
    metrics: Mapping[str, MetricPart] = Field(default_factory=dict)


class GoalPart(Part):
    """A goal of the gate, as checked."""

    goal: str
    metric: str = ""
    source: Number = None
    value: Number = None
    limit: Number = None
    met: bool
    note: str = ""
    worst: str = Field("", description="the part of the model that a measure over several parts comes from")


class TowerPart(Part):
    """A tower before and after, with its `role` (encoder, decoder, …) and `modality` (image, text, audio, mixed)."""

    name: str
    role: str = ""
    modality: str = ""
    blocks: int = 0
    parameters: int = 0
    size_bytes_before: Count = None
    size_bytes_after: Count = None
    p50_ms_before: Number = None
    p50_ms_after: Number = None


class SitePart(Part):
    """A place that holds weights: what was done to it (`bits` as stored per weight), or why it was left (`skipped`)."""

    site: str
    tower: str = ""
    kind: str = ""
    method: str = ""
    bits: Number = None
    error: Number = None
    change: str = ""
    skipped: str = ""
    parameters: int = 0
    size_bytes: int = 0


class StepPart(Part):
    """A step of the recipe as it ran; `towers` is empty where it applied to all it fits."""

    method: str
    settings: Mapping[str, Any] = Field(default_factory=dict)
    towers: tuple[str, ...] = ()
    seconds: Number = None


class StagePart(Part):
    """The model between two steps, measured on the rows that are kept for choosing; the first is the source."""

    name: str
    size_bytes: Count = None
    p50_ms: Number = None
    metrics: Mapping[str, Number] = Field(default_factory=dict)


class EffortPart(Part):
    """What all steps took, and what was expected before they began."""

    expected_seconds: Number = None
    expected_peak_rss_bytes: Count = None
    seconds: Number = None
    peak_rss_bytes: Count = None


class ModelPart(Part):
    """What was compressed. `size_bytes` is its size on disk; the gate compares with 4 bytes per parameter."""

    id: str = "model"
    revision: str | None = None
    sha256: str | None = None
    size_bytes: Count = None
    parameters: Count = None
    family: str | None = None
    architecture: str | None = None
    task: str | None = None
    license: str | None = None

    @property
    def name(self) -> str:
        """The id, without the folders of this machine where it is an absolute path."""
        return PurePath(self.id).name if PurePath(self.id).is_absolute() else self.id


class MachinePart(Part):
    """Where it was measured."""

    cpu: str = ""
    cores: int = 0
    threads: int = 0
    memory_bytes: Count = None
    os: str = ""


class DataPart(Part):
    """The data: rows of its three disjoint parts, built-in rows that ranges were calibrated on, where rows come from.

    `calibrated_on` and `judged_on` count rows by column (source, language, speaker) and value.
    """

    name: str = ""
    calibrate: int = 0
    select: int = 0
    judge: int = 0
    builtin: Mapping[str, int] = Field(default_factory=dict)
    augmented: bool = False
    calibrated_on: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)
    judged_on: Mapping[str, Mapping[str, int]] = Field(default_factory=dict)


class SlicePart(Part):
    """A metric on a slice of the test rows, or under one kind of shift; a positive loss means a worse result."""

    column: str = ""
    value: str = ""
    metric: str = ""
    source: Number = None
    result: Number = None
    loss: Number = None
    low: Number = None
    high: Number = None
    n: int = 0
    allowed: Number = None
    refused: bool = False


class ShiftPart(Part):
    """Test rows judged once more under shift: how many, and each kind of corruption by itself."""

    seed: int = 0
    rows: int = 0
    left_out: int = 0
    kinds: tuple[SlicePart, ...] = ()


class EnginePart(Part):
    """What the result reached in one engine, and whether the artifact claims it."""

    claimed: bool = False
    metrics: Mapping[str, MetricPart] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


class RangePart(Part):
    """Shares of a site's input values out of range: on clean test rows, and under the worst kind of shift."""

    site: str = ""
    tower: str = ""
    clean: Number = None
    shifted: Number = None
    kind: str = ""


class CheckpointPart(Part):
    """How `checkpoint/` is laid out: `compressed-tensors`, which plain transformers opens, or `penjing` and why."""

    layout: str = ""
    note: str = ""


class SamplePart(Part):
    """A judged item whose outputs differ: the truth, what the source said, what the result says."""

    id: str = ""
    language: str = "en"
    reference: str = ""
    source: str = ""
    result: str = ""


class Document(Part):
    """One compression, from the model to the verdict."""

    format: int = 1
    model: ModelPart = Field(default_factory=ModelPart)
    artifact: str = ""
    graphs: tuple[str, ...] = Field((), description="ONNX files of the artifact, as paths in it")
    checkpoint: CheckpointPart | None = None
    published: bool
    problems: tuple[str, ...] = Field((), description="reasons of a refusal that are not goals: nothing was changed, …")
    warnings: tuple[str, ...] = Field((), description="what is worth knowing and refused nothing: not faster, …")
    goals: tuple[GoalPart, ...] = ()
    source: MeasuresPart = Field(
        default_factory=MeasuresPart, description="the source as float32 in the result's engine"
    )
    result: MeasuresPart = Field(default_factory=MeasuresPart)
    reference: MeasuresPart | None = Field(None, description="the source in PyTorch eager float32")
    changes: Mapping[str, MetricPart] = Field(default_factory=dict, description="metric -> paired result - source")
    towers: tuple[TowerPart, ...] = ()
    coverage: tuple[SitePart, ...] = ()
    steps: tuple[StepPart, ...] = ()
    steps_took: EffortPart | None = None
    stages: tuple[StagePart, ...] = Field((), description="step by step, where a step changes the structure")
    recipe: str = Field("", description="YAML, as run")
    seconds: Number = None
    created: str = Field("", description="date, as text")
    data: DataPart | None = None
    samples: tuple[SamplePart, ...] = ()
    quick: bool = Field(False, description="judged without shift and in one engine alone")
    shift: ShiftPart | None = None
    slices: tuple[SlicePart, ...] = ()
    engines: Mapping[str, EnginePart] = Field(default_factory=dict, description="engine -> what it reached there")
    ranges: tuple[RangePart, ...] = ()
    machine: MachinePart = Field(default_factory=MachinePart)
    versions: Mapping[str, str] = Field(default_factory=dict, description="package -> version")

    @property
    def artifact_name(self) -> str:
        """Name of the artifact's folder."""
        return PurePath(self.artifact).name


class InspectedTower(Part):
    """A tower as `penjing inspect` tells it."""

    name: str
    role: str = ""
    modality: str = ""
    blocks: int = 0
    parameters: int = 0
    size_bytes: Count = None
    macs: Count = None
    p50_ms: Number = None
    latency_share: Number = None


class Inspection(Part):
    """The document of `penjing inspect --json`."""

    family: str | None = None
    architecture: str | None = None
    parameters: int = 0
    size_bytes: Count = None
    tied: tuple[tuple[str, ...], ...] | tuple[str, ...] | bool = ()
    towers: tuple[InspectedTower, ...] = ()


def parse(document: Mapping[str, Any]) -> Document:
    """Check a JSON object; what cannot be a report is an ArtifactError that names the first wrong field."""
    try:
        return Document.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactError(
            f"not a penjing report: {place}: {first['msg']}", hint="compress again to write it anew"
        ) from error


def read(path: Path) -> Document:
    """Read `report.json` or `penjing.json`."""
    try:
        content = read_object(path)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}", hint="give the folder that `penjing compress` wrote") from error
    except UnreadableJson as error:
        raise ArtifactError(f"{path} is damaged: it {error}", hint="compress again to write it anew") from error
    return parse(content)
