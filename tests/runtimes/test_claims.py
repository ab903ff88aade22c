"""An artifact is opened in an engine that it claims."""

from __future__ import annotations

import logging

import pytest

from penjing.runtimes import claims
from penjing.runtimes.claims import claims_of, engine_for

pytestmark = pytest.mark.shop


def manifest(**engines: bool) -> dict[str, object]:
    return {"engines": {name: {"claimed": claimed} for name, claimed in engines.items()}}


@pytest.fixture
def installed(monkeypatch):
    def choose(names: set[str], best: str) -> None:
        monkeypatch.setattr(claims, "have", lambda name: name in names)
        picked = claims.choose_engine
        monkeypatch.setattr(claims, "choose_engine", lambda name: picked("onnxruntime" if name == "auto" else name))
        if best != "onnxruntime":
            engine = type("Engine", (), {"name": best})
            monkeypatch.setattr(claims, "choose_engine", lambda name: engine if name == "auto" else picked(name))

    return choose


def test_auto_takes_the_best_engine_where_it_is_claimed(installed, caplog):
    installed({"openvino", "onnxruntime"}, "openvino")
    assert engine_for(manifest(openvino=True, onnxruntime=True), "auto", "a") == "openvino"
    assert not caplog.records


def test_auto_goes_to_another_engine_where_the_best_was_refused(installed, caplog):
    installed({"openvino", "onnxruntime"}, "openvino")
    assert engine_for(manifest(openvino=False, onnxruntime=True), "auto", "a") == "onnxruntime"
    assert not caplog.records


def test_an_engine_that_was_refused_runs_with_a_warning(installed, caplog):
    installed({"openvino", "onnxruntime"}, "openvino")
    with caplog.at_level(logging.WARNING, "penjing"):
        assert engine_for(manifest(openvino=True, onnxruntime=False), "onnxruntime", "clip-small") == "onnxruntime"
    assert "clip-small was refused in onnxruntime" in caplog.text


def test_an_engine_that_was_not_judged_runs_with_a_warning(installed, caplog):
    installed({"onnxruntime"}, "onnxruntime")
    with caplog.at_level(logging.WARNING, "penjing"):
        assert engine_for(manifest(openvino=True), "auto", "clip-small") == "onnxruntime"
    assert "was not judged in onnxruntime" in caplog.text


@pytest.mark.parametrize("engines", [None, [], "openvino", {}, {"openvino": True}])
def test_manifests_without_claims_are_opened_as_before(engines):
    assert claims_of({"engines": engines}) == {}
    assert engine_for({"engines": engines}, "auto", "a") == "auto"


def test_only_true_is_a_claim():
    assert claims_of({"engines": {"openvino": {"claimed": "yes"}}}) == {"openvino": False}
