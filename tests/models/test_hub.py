"""From a name to a folder; without a network it answers, quickly and by name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
import huggingface_hub.utils
import pytest

from penjing.errors import ModelError
from penjing.models import hub
from penjing.models.hub import HUB_ID, locate

ASK = """
import sys
from penjing.errors import ModelError
from penjing.models import hub
hub.TIMEOUT_S = 0.5
try:
    hub.locate(sys.argv[1])
except ModelError as error:
    print(error.exit_code, error.message, "|", error.hint)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def fake_hub(monkeypatch, answer) -> list[dict]:
    """Let the hub answer with files, or raise; collect what is downloaded."""
    asked: list[dict] = []

    def model_info(self, name, timeout):
        assert timeout <= 5
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(sha="abc", siblings=[SimpleNamespace(rfilename=file) for file in answer])

    def snapshot_download(name, **settings):
        asked.append(settings)
        return "/cache/abc"

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_folder_is_itself(tmp_path):
    place = locate(str(tmp_path))
    assert (place.folder, place.id, place.revision) == (tmp_path, tmp_path.name, None)


def test_the_name_in_reports_holds_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate(".").id == tmp_path.name


@pytest.mark.parametrize(("name", "fits"), [("gpt2", True), ("openai/whisper-tiny.en", True), ("./gpt2", False)])
def test_what_may_be_a_hub_id(name, fits):
    assert bool(HUB_ID.fullmatch(name)) is fits


@pytest.mark.parametrize("name", ["/nowhere/at/all", "../nowhere", "a/b/c", "~/nowhere"])
def test_a_path_never_asks_the_hub(monkeypatch, name):
    monkeypatch.setattr(hub, "_from_hub", None)
    assert not locate(name).folder.exists()


@pytest.mark.parametrize("name", ["someone/some-model", "some-model"])
def test_offline_the_missing_file_is_named(cache, monkeypatch, name):
    fake_hub(monkeypatch, ConnectionError("no network"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"config\.json is not in the Hugging Face cache") as caught:
        locate(name)
    assert "HF_HUB_OFFLINE is set" in caught.value.message
    assert caught.value.hint.startswith(f"run `hf download {name}`")


def test_offline_the_cache_is_used(cache, monkeypatch):
    fake_hub(monkeypatch, ConnectionError("no network"))
    folder = cache / "models--someone--some-model" / "snapshots" / ("1" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (cache / "models--someone--some-model" / "refs").mkdir()
    (cache / "models--someone--some-model" / "refs" / "main").write_text("1" * 40)
    place = locate("someone/some-model")
    assert place.folder == folder
    assert (place.id, place.revision) == ("someone/some-model", "1" * 40)


def test_only_what_is_needed_is_downloaded(monkeypatch):
    asked = fake_hub(monkeypatch, ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx"])
    place = locate("someone/some-model")
    assert (place.folder, place.revision) == (Path("/cache/abc"), "abc")
    (settings,) = asked
    assert settings["revision"] == "abc"
    assert settings["etag_timeout"] <= 5
    kept = list(
        huggingface_hub.utils.filter_repo_objects(
            ["config.json", "model.safetensors", "tokenizer.json", "merges.txt", "pytorch_model.bin", "tf_model.h5",
             "onnx/model.onnx", "onnx/config.json", "model.fp16.safetensors", "flax_model.msgpack", "modeling_own.py"],
            allow_patterns=settings["allow_patterns"],
            ignore_patterns=settings["ignore_patterns"],
        )
    )  # fmt: skip
    assert kept == ["config.json", "model.safetensors", "tokenizer.json", "merges.txt"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["config.json", "pytorch_model.bin"], r"only pickled weights \(pytorch_model.bin\)"),
        (["config.json", "onnx/model.safetensors"], "no safetensors on the hub"),
    ],
)
def test_a_repository_without_safetensors_is_not_downloaded(monkeypatch, files, message):
    asked = fake_hub(monkeypatch, files)
    with pytest.raises(ModelError, match=message):
        locate("someone/some-model")
    assert asked == []


def test_a_name_that_is_nothing(monkeypatch):
    fake_hub(monkeypatch, huggingface_hub.errors.HFValidationError("no"))
    with pytest.raises(ModelError, match="neither a folder here nor a model on the hub") as caught:
        locate("someone/some-model")
    assert "spelling" in caught.value.hint


def test_a_download_that_breaks_can_be_continued(monkeypatch):
    fake_hub(monkeypatch, ["model.safetensors"])

    def broken(name, **settings):
        raise OSError("line\nline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(ModelError, match=r"the download failed: line$") as caught:
        locate("someone/some-model")
    assert "again" in caught.value.hint


def test_a_server_that_never_answers_is_not_waited_for(tmp_path):
    """A real socket that accepts and stays silent, in a fresh process that believes it is online."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        start = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-c", ASK, "someone/some-model"],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert time.monotonic() - start < 30
    assert answer.stdout.startswith("2 someone/some-model: no such folder, config.json is not in the")
    assert "does not answer" in answer.stdout


def test_the_built_in_model_is_found(monkeypatch, tmp_path):
    from penjing.models import pretrained

    monkeypatch.setattr(pretrained, "pretrained_folder", lambda name: tmp_path / name)
    place = locate("pictures-dual-encoder")
    assert (place.folder, place.id) == (tmp_path / "dual-encoder", "pictures-dual-encoder")
