"""`penjing verify`, and what other commands say of an artifact that is not what its manifest says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def test_verify(encoder_artifact: Path, tmp_path: Path, penjing) -> None:
    folder = Path(shutil.copytree(encoder_artifact, tmp_path / "artifact"))
    found = penjing("verify", folder).json
    assert found["verified"] is True
    assert found["unlisted"] == []
    assert set(found["files"]) == set(json.loads((folder / "penjing.json").read_text())["files"])
    (folder / "extra.txt").write_text("x")
    said = penjing("verify", folder, as_json=False)
    assert said.code == 0
    assert "each as it was measured" in said.out
    assert "not listed, so never run: extra.txt" in said.out
    (folder / "README.md").write_text("edited")
    message, _ = penjing("verify", folder).check_refused()
    assert message.endswith("README.md was changed after it was measured")


def test_a_changed_artifact_is_not_evaluated(encoder_artifact: Path, pairs_file: Path, tmp_path: Path, penjing) -> None:
    folder = Path(shutil.copytree(encoder_artifact, tmp_path / "artifact"))
    weights = folder / "checkpoint" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100] + bytes(100))
    message, _ = penjing("evaluate", folder, "--data", pairs_file, "--engine", "torch").check_refused()
    assert "checkpoint/model.safetensors was changed" in message
    weights.write_bytes(content)
    (folder / "tokenizer.json").write_text("{}")
    message, _ = penjing("evaluate", folder, "--data", pairs_file, "--engine", "onnxruntime").check_refused()
    assert "tokenizer.json was changed" in message


def test_a_report_never_follows_a_link(encoder_artifact: Path, tmp_path: Path, penjing) -> None:
    folder = Path(shutil.copytree(encoder_artifact, tmp_path / "artifact"))
    (tmp_path / "diary.txt").write_text("mine")
    manifest = json.loads((folder / "penjing.json").read_text())
    manifest["files"].pop("report.html", None)
    (folder / "penjing.json").write_text(json.dumps(manifest))
    (folder / "report.html").unlink(missing_ok=True)
    (folder / "report.html").symlink_to(tmp_path / "diary.txt")
    assert penjing("report", folder, as_json=False).code == 0
    assert (tmp_path / "diary.txt").read_text() == "mine"
    assert not (folder / "report.html").is_symlink()
