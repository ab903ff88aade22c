"""Reading the JSON document: what is required, what is forgiven, what is refused with a hint."""

from __future__ import annotations

import json
import math

import pytest

from penjing.errors import ArtifactError
from penjing.report.document import Inspection, parse, read
from penjing.values import Measures, Metric, Note

pytestmark = pytest.mark.shop


def test_the_examples_are_read_whole(published, refused):
    assert published.published
    assert published.goals[0].note == "not proven at n=60"
    assert published.source.metrics["wer"].n == 60
    assert [tower.name for tower in published.towers] == ["encoder", "decoder", "embedding"]
    assert not refused.published
    assert refused.reference is None
    assert len(refused.coverage) == 66


def test_every_key_of_the_examples_is_known(published_json, refused_json):
    for document in (published_json, refused_json):
        assert set(document) <= set(type(parse(document)).model_fields)


def test_almost_everything_may_be_missing():
    document = parse({"published": True})
    assert document.model.name == "model"
    assert document.source.p50_ms is None


def test_unknown_keys_are_forgiven_and_numbers_that_are_none_too():
    metrics = {"perplexity": {"value": math.inf, "low": math.nan, "n": 3}}
    document = parse({"published": True, "later": 1, "result": {"metrics": metrics, "p50_ms": None, "new": 2}})
    assert document.result.metrics["perplexity"].value is None


def test_what_the_house_measures_fits():
    measures = Measures("openvino", 2, size_bytes=5, metrics={"wer": Metric(0.1, 0.0, 0.2, 9)}).as_json()
    note = Note("a.b", "rtn", "encoder", bits=8.25, error=0.01, size_bytes=9).as_json()
    document = parse({"published": False, "source": measures, "result": measures, "coverage": [note]})
    assert document.result.metrics["wer"].high == 0.2
    assert document.coverage[0].bits == 8.25


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({}, "published"),
        ({"published": True, "towers": [{}]}, "towers.0.name"),
        ({"published": True, "goals": 3}, "goals"),
    ],
)
def test_the_first_wrong_field_is_named(document, place):
    with pytest.raises(ArtifactError, match=f"not a penjing report: {place}"):
        parse(document)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(ArtifactError, match="cannot read"):
        read(tmp_path / "report.json")
    (tmp_path / "report.json").write_text('{"published": tr')
    with pytest.raises(ArtifactError, match="damaged: it is not valid JSON"):
        read(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(ArtifactError, match="damaged: it is not a JSON object"):
        read(tmp_path / "report.json")


def test_reading_a_file(tmp_path, published_json, published):
    (tmp_path / "report.json").write_text(json.dumps(published_json))
    assert read(tmp_path / "report.json") == published


@pytest.mark.parametrize(
    ("given", "shown"), [("openai/whisper-base", "openai/whisper-base"), ("/home/me/models/mine", "mine")]
)
def test_folders_of_this_machine_are_not_shown(given, shown):
    document = parse({"published": True, "model": {"id": given}, "artifact": f"/tmp/{shown}/out"})
    assert document.model.name == shown
    assert document.artifact_name == "out"


def test_ties_are_read_in_every_form():
    assert Inspection.model_validate({"tied": [["a", "b"]]}).tied == (("a", "b"),)
    assert Inspection.model_validate({"tied": ["a"]}).tied == ("a",)
    assert Inspection.model_validate({"tied": True}).tied is True


def test_texts_cannot_steer_a_terminal():
    document = parse(
        {"published": True, "recipe": "a:\n\tb\x1b[31m\x00", "versions": {"x\x9b": "1\u202e"}, "warnings": ["\r!"]}
    )
    assert document.recipe == "a:\n\tb[31m"
    assert document.versions == {"x": "1"}
    assert document.warnings == ("!",)
