"""What the terminal prints, at 80 columns and wider."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from penjing.report.document import parse
from penjing.report.tables import print_evaluation, print_inspection, print_result, verdict

pytestmark = pytest.mark.shop

INSPECTION = {
    "family": "whisper",
    "architecture": "WhisperForConditionalGeneration",
    "parameters": 37_760_640,
    "size_bytes": 151_061_672,
    "tied": [["model.decoder.embed_tokens", "proj_out"]],
    "towers": [
        {
            "name": "encoder",
            "role": "encoder",
            "modality": "audio",
            "blocks": 4,
            "parameters": 8_208_384,
            "size_bytes": 32_833_536,
            "macs": 12_400_000_000,
            "p50_ms": 41.2,
            "latency_share": 0.31,
        },
        {
            "name": "embedding",
            "role": "embedding",
            "modality": "text",
            "parameters": 19_915_776,
            "size_bytes": 79_663_104,
        },
    ],
}


def printed(show, *documents, width: int = 80, **settings) -> str:
    buffer = io.StringIO()
    show(Console(file=buffer, width=width, **settings), *documents)
    return buffer.getvalue()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_a_result_fits_into_eighty_columns(published):
    text = printed(print_result, published)
    assert max(map(len, text.splitlines())) <= 80
    row = "word error rate 4.1% 4.5% +0.3 points −0.5 … +1.2"
    assert " ".join(line_with(text, "word error rate").split()) == row
    assert "✓ wer<=+0.01" in text
    assert "not proven at n=60" in text
    assert "left alone in embedding: proj_out: tied to" in text
    assert text.rstrip().endswith("published whisper-small in 104.6 s: 3.60× smaller, 1.96× faster")
    assert "PyTorch" not in text
    assert "measured in openvino, 2 threads" in text


def test_a_wide_terminal_shows_pytorch_too(published):
    assert "PyTorch float32" in printed(print_result, published, width=110)


def test_a_refusal_says_which_goal_and_by_how_much(refused):
    text = printed(print_result, refused, width=200)
    assert "✗ recall_at_1>=-0.01" in text
    assert "worth knowing: not faster" in text
    lines = text.rstrip().splitlines()
    assert lines[-2] == "refused, nothing was published in 21.9 s"
    assert lines[-1].strip().endswith("asks for at least 60.5%: missed by 49.0 points")


def test_a_refusal_without_a_failed_goal_tells_the_problem():
    document = parse({"published": False, "problems": ["no site was changed"]})
    assert verdict(document).plain == "refused, nothing was published\n  no site was changed"
    assert "tower" not in printed(print_result, document)


def test_an_evaluation_alone_and_against_a_source(published_json):
    measured, source = published_json["result"], published_json["source"]
    alone = printed(print_evaluation, {"measures": measured, "against": None, "goals": []})
    assert "result" in alone
    assert "source" not in alone
    assert "change" not in alone
    goal = {"goal": "size_bytes<=1", "metric": "size_bytes", "value": 10_000_000, "limit": 1, "met": False}
    both = printed(print_evaluation, {"measures": measured, "against": source, "goals": [goal]})
    assert "3.60× smaller" in both
    assert "95% interval" not in both
    assert "✗ size_bytes<=1" in line_with(both, "size_bytes<=1")


def test_an_inspection_fits_into_eighty_columns():
    text = printed(print_inspection, INSPECTION)
    row = "encoder audio encoder 4 8.21 M 32.8 MB 12.4 G 41.2 ms 31.0%"
    assert " ".join(line_with(text, "audio encoder").split()) == row
    assert " ".join(line_with(text, "text embedding").split()).endswith("79.7 MB – – –")
    assert "37.8 M parameters, 151 MB" in text
    assert "one copy of: model.decoder.embed_tokens = proj_out" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("tied", "told"), [(True, "output head and embedding"), (["a=b"], "a=b"), (False, None), ([], None)]
)
def test_ties_in_every_form(tied, told):
    text = printed(print_inspection, {**INSPECTION, "tied": tied})
    assert (f"one copy of: {told}" in text) if told else ("one copy of" not in text)


def test_hostile_text_is_shown_not_obeyed(hostile):
    text = printed(print_result, hostile, width=400, force_terminal=True, color_system="standard")
    assert "[red]x[/red]" in text
    assert '"quoted" \x1b[31m' not in text
    assert '"quoted" [31m' in text


def test_nothing_measured_prints_without_a_fuss():
    assert "refused" in printed(print_result, parse({"published": False}))
    assert "model" in printed(print_inspection, {})


def test_both_sizes_of_the_source_are_said(published_json):
    """A 16-bit checkpoint has two bytes a parameter, and the gate counts four."""
    published_json["source"]["checkpoint_bytes"] = published_json["source"]["size_bytes"] // 2
    published_json["result"]["checkpoint_bytes"] = published_json["result"]["size_bytes"]
    text = " ".join(printed(print_result, parse(published_json)).split())
    assert "3.60× smaller (source float32), 1.80× smaller (source on disk), 1.96× faster" in text
    assert "size of model files 151 MB 41.9 MB 3.60× smaller" in text
    assert re.search(r"size, source as on disk 75\.\d MB 41\.9 MB 1\.80× smaller", text)
