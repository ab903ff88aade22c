"""The model card: README.md of an artifact, with the YAML front matter of the Hugging Face hub."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from penjing.report.coverage import coverage
from penjing.report.document import Document
from penjing.report.numbers import NOTHING, bytes_text, count_text, share_text
from penjing.report.provenance import data_lines
from penjing.report.rows import comparison

PIPELINE_TAGS = {
    "speech_seq2seq": "automatic-speech-recognition",
    "ctc": "automatic-speech-recognition",
    "dual_encoder": "zero-shot-image-classification",
    "causal_lm": "text-generation",
    "image_text_to_text": "image-text-to-text",
    "encoder": "feature-extraction",
    "image_to_text": "image-to-text",
    "visual_question_answering": "visual-question-answering",
    "multimodal": "any-to-any",
}
"""Task of the manifest -> pipeline tag of the hub."""

FIRST_GRAPHS = {"speech_seq2seq": "onnx/encoder_model.onnx", "dual_encoder": "onnx/vision_model.onnx"}


def model_card(document: Document) -> str:
    """Write the card of a published artifact. Markdown, ends with a newline; needs no extra."""
    parts = [
        _front_matter(document),
        _opening(document),
        _measured(document),
        _running(document),
        _made(document),
        _limits(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_card(document: Document, path: Path) -> None:
    """Write the card to a file."""
    path.write_text(model_card(document), encoding="utf8")


def front_matter(document: Document) -> dict[str, Any]:
    """What the hub reads: base model (of the hub only), library, license, pipeline tag, tags; no empty keys."""
    tags = ["penjing", "compressed", *(["onnx", "openvino"] if _has_graphs(document) else [])]
    methods = dict.fromkeys(site.method for site in document.coverage if site.method and not site.skipped)
    known = {
        "base_model": document.model.id if document.model.revision else None,
        "library_name": "onnx" if _has_graphs(document) else "transformers",
        "license": document.model.license,
        "pipeline_tag": _pipeline_tag(document),
        "tags": [*tags, *methods],
    }
    return {name: value for name, value in known.items() if value}


def plain(text: str) -> str:
    """Make text harmless in Markdown prose and tables: one line, no markup."""
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Make a code span of one line; backticks inside become quotes."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def fence(text: str, language: str = "") -> str:
    """Make a code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def _front_matter(document: Document) -> str:
    """YAML between its two lines."""
    return f"---\n{yaml.safe_dump(front_matter(document), sort_keys=False, allow_unicode=True)}---"


def _opening(document: Document) -> str:
    """Title and what this is, in a sentence."""
    size = document.result.size_bytes
    model = f"{count_text(document.model.parameters)} parameters" if document.model.parameters else "a model"
    weight = f" to {bytes_text(size)}" if size else ""
    return (
        f"# {plain(document.artifact_name or document.model.name)}\n\n"
        f"{code(document.model.name)} ({model}), compressed{weight} with penjing. `report.html` shows everything"
        " that was measured, `penjing.json` lists what was done to each weight."
    )


def _measured(document: Document) -> str:
    """The before/after table, with the machine and the data."""
    lines = ["## Measured", "", "| measure | source | result | change | 95% interval |", "|---|--:|--:|--:|--:|"]
    for row in comparison(document):
        cells = (plain(row.label), row.source, f"**{row.result}**", row.change, row.interval)
        lines.append(f"| {' | '.join(cells)} |")
    engine = (
        f"Both in {document.result.engine}, {document.result.threads} threads" if document.result.engine else "Both"
    )
    where = ", ".join(filter(None, (document.machine.cpu, document.machine.os, document.created)))
    lines += ["", plain(f"{engine}; the source as float32. {where}.")]
    if document.data:
        told = f"{document.data.name}: {document.data.judge} judge rows, {document.data.calibrate} for calibration"
        lines.append(plain(f"Data {told} and {document.data.select} for choices, disjoint."))
        lines += [plain(line) for line in data_lines(document.data)]
    return "\n".join(lines)


def _running(document: Document) -> str:
    """How to run it: with penjing, and with the engines alone."""
    folder = document.artifact_name or "ARTIFACT"
    path = shlex.quote(folder)
    speech = _task(document) == "speech_seq2seq"
    if not _has_graphs(document):
        return "\n\n".join(["## Run it", *_running_in_torch(document, path), *_opening_plainly(document)])
    commands = [f"penjing transcribe {path} call.wav"] if speech else []
    commands.append(f"penjing evaluate {path} --data DATA")
    parts = ["## Run it", fence("pip install penjing\n" + "\n".join(commands), "sh")]
    usual = FIRST_GRAPHS.get(_task(document), "onnx/model.onnx")
    graph = usual if usual in document.graphs else next(iter(document.graphs), usual)
    where = json.dumps(f"{folder}/{graph}", ensure_ascii=False)
    program = (
        "import onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({where})\n"
        "print([(x.name, x.type, x.shape) for x in session.get_inputs()])\n\n"
        "import openvino\n\n"
        f'compiled = openvino.Core().compile_model({where}, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})\n'
        "print(compiled.inputs)"
    )
    parts += ["The graphs in `onnx/` need no code of penjing:", fence(program, "python")]
    if speech:
        parts.append(
            "`encoder_model.onnx` turns log-mel features into the cross-attention keys and values of every decoder"
            " layer; `decoder_with_past_model.onnx` takes them, the self-attention cache and one token at a time."
            " This layout runs in ONNX Runtime and OpenVINO, not in transformers.js."
        )
    return "\n\n".join([*parts, *_opening_plainly(document)])


def _running_in_torch(document: Document, path: str) -> list[str]:
    """How an artifact without graphs is used: measured by a command where it has a task, opened in Python."""
    where = json.dumps(f"{document.artifact_name or 'ARTIFACT'}/checkpoint", ensure_ascii=False)
    program = (
        "from pathlib import Path\n\n"
        "from penjing.artifact.checkpoint import load_network\n\n"
        f"network = load_network(Path({where}))"
    )
    commands = ['pip install "penjing[compress]"']
    commands += [f"penjing evaluate {path} --data DATA --engine torch"] if document.model.task else []
    return [
        "There are no ONNX graphs here: `checkpoint/` holds the codes and scales as safetensors, for PyTorch.",
        fence("\n".join(commands), "sh"),
        fence(program, "python"),
    ]


def _opening_plainly(document: Document) -> list[str]:
    """How transformers opens the checkpoint without penjing, where it does."""
    if document.checkpoint is None or document.checkpoint.layout != "compressed-tensors":
        return []
    kind = document.model.architecture or "AutoModel"
    where = json.dumps(f"{document.artifact_name or 'ARTIFACT'}/checkpoint", ensure_ascii=False)
    program = f"from transformers import {kind}\n\nmodel = {kind}.from_pretrained({where})"
    return ["It opens without penjing, too (`pip install transformers compressed-tensors`):", fence(program, "python")]


def _made(document: Document) -> str:
    """Recipe and coverage."""
    parts = ["## How it was made"]
    if document.recipe:
        parts.append(fence(document.recipe, "yaml"))
    lines = ["| tower | method | bits | sites | parameters | largest error |", "|---|---|--:|--:|--:|--:|"]
    for tower in coverage(document):
        for group in tower.compressed:
            numbers = (group.bits, str(group.sites), count_text(group.parameters), share_text(group.worst_error))
            lines.append(f"| {' | '.join((plain(tower.tower or NOTHING), plain(group.method), *numbers))} |")
        for left in tower.left:
            numbers = ("", str(len(left.sites)), count_text(left.parameters), "")
            lines.append(f"| {' | '.join((plain(tower.tower or NOTHING), plain('left: ' + left.reason), *numbers))} |")
    return "\n\n".join([*parts, *(["\n".join(lines)] if document.coverage else [])])


def _limits(document: Document) -> str:
    """What the numbers do not say."""
    lines = ["## Limits", ""]
    lines += [f"- {code(goal.goal)}: {plain(goal.note)}." for goal in document.goals if goal.note]
    lines += [f"- {plain(warning)}." for warning in document.warnings]
    if document.data and document.data.judge:
        lines.append("- Quality was measured on this data; other speakers, images or topics may lose more or less.")
    else:
        lines.append("- No task data was given: only the likeness of outputs was measured, no task.")
    lines.append("- Times are of the machine above; another processor has other ratios.")
    if document.model.license is None:
        lines.append("- The license of the source model applies; it was not found in the checkpoint.")
    return "\n".join(lines)


def _task(document: Document) -> str:
    """The task's name in one spelling."""
    return (document.model.task or "").replace("-", "_").replace(" ", "_")


def _pipeline_tag(document: Document) -> str | None:
    """What the hub calls the task; it has a name for each modality that a classifier takes."""
    if _task(document) == "classifier":
        sees = any(tower.modality == "image" for tower in document.towers)
        return "image-classification" if sees else "text-classification"
    if _task(document) == "dual_encoder" and any(tower.modality == "audio" for tower in document.towers):
        return "zero-shot-audio-classification"
    return PIPELINE_TAGS.get(_task(document))


def _has_graphs(document: Document) -> bool:
    """Whether the artifact has ONNX graphs; a model with a task has them unless a checkpoint alone was asked for."""
    return bool(document.graphs) or (bool(document.model.task) and document.checkpoint is None)
