"""Requests drawn from the server's own OpenAPI document: whatever comes, it answers, and is there afterwards."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


def test_no_request_breaks_it(seedling_server):
    schema = schemathesis.openapi.from_url(f"{seedling_server.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"POST /v1/embeddings", "POST /v1/chat/completions", "POST /v1/search"} <= {one.label for one in operations}
    for operation in operations:
        check_answers(operation)
    assert seedling_server.get("/health").status == 200


def check_answers(operation):
    """Send what hypothesis draws: all of it is answered, and refusals say why."""

    @given(case=operation.as_strategy())
    @settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])
    def send(case):
        answer = case.call()
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]

    send()
