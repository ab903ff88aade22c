"""Two realistic documents: a Whisper that was published and a dual encoder that the gate refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penjing.report.document import Document, parse

HERE = Path(__file__).parent


@pytest.fixture
def published_json() -> dict[str, Any]:
    return json.loads((HERE / "example.json").read_text(encoding="utf8"))


@pytest.fixture
def refused_json() -> dict[str, Any]:
    return json.loads((HERE / "refused.json").read_text(encoding="utf8"))


@pytest.fixture
def published(published_json) -> Document:
    return parse(published_json)


@pytest.fixture
def refused(refused_json) -> Document:
    return parse(refused_json)


HOSTILE = '<script>alert(1)</script> [red]x[/red] $a^b$ `c` | 名前 "quoted" \x1b[31m'
"""What a model, a data set or a recipe might try."""


@pytest.fixture
def hostile(published_json) -> Document:
    """The published document with HOSTILE in every string that a person can choose."""
    document = published_json
    document["model"]["id"] = document["model"]["architecture"] = HOSTILE
    document["artifact"] = document["recipe"] = document["data"]["name"] = HOSTILE
    document["warnings"] = document["problems"] = [HOSTILE]
    document["machine"]["cpu"] = document["versions"][HOSTILE] = HOSTILE
    document["towers"][0]["name"] = document["towers"][0]["role"] = HOSTILE
    for site in document["coverage"]:
        site["site"] = site["method"] = HOSTILE
        site["skipped"] = site["skipped"] and HOSTILE
    for sample in document["samples"]:
        sample["reference"] = sample["source"] = sample["result"] = sample["id"] = HOSTILE
    document["steps"][0]["settings"][HOSTILE] = HOSTILE
    document["goals"][0]["note"] = HOSTILE
    document["goals"].append({"goal": HOSTILE, "metric": HOSTILE, "met": False})
    document["result"]["metrics"][HOSTILE] = document["source"]["metrics"][HOSTILE] = {"value": 1, "low": 0, "high": 2}
    return parse(document)
