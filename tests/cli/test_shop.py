"""The shop imports neither torch nor transformers though both are installed; without them the workshop says how."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

import shop_run
from penjing.errors import MissingExtra
from penjing.extras import EXTRAS, need, workshop

SHOP = [
    "import penjing",
    "transcribe",
    "embed",
    "--help",
    "penjing transcribe",
    "penjing ask",
    "penjing caption",
    "penjing evaluate",
    "penjing evaluate --against",
    "penjing inspect",
    "penjing report",
]
WORKSHOP = {
    "recipes": ("torch", "compress"),
    "methods": ("torch", "compress"),
    "inspect": ("torch", "compress"),
    "compress": ("torch", "compress"),
    "evaluate": ("torch", "compress"),
    "report": ("jinja2", "report"),
    "transcribe": ("openvino", "openvino"),
    "caption": ("torch", "compress"),
}


@pytest.fixture(scope="module")
def told(
    speech_artifact, picture_artifact, sound_folder, picture_folder, whisper_folder, seedling_artifact, tmp_path_factory
) -> Any:
    """What the program found out."""
    artifact = shutil.copytree(picture_artifact, tmp_path_factory.mktemp("shop") / "artifact")  # report writes into it
    folders = [speech_artifact, artifact, sound_folder, picture_folder, whisper_folder, seedling_artifact]
    command = [sys.executable, shop_run.__file__, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=artifact.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_torch_could_be_imported():
    assert need("torch", "compress").__name__ == "torch"
    assert need("transformers", "compress").__name__ == "transformers"


@pytest.mark.parametrize("name", SHOP)
def test_the_shop_imports_no_workshop(name, told):
    assert told["found"][name] == []


@pytest.mark.parametrize("command", WORKSHOP)
def test_what_is_not_installed_is_named(command, told):
    package, extra = WORKSHOP[command]
    code, err = told["said"][command]
    assert code == 2
    assert err == f'error: {package} is not installed\n  hint: pip install "penjing[{extra}]"'


def test_the_shop_runs_without_the_workshop(told):
    assert told["said"]["shop"] == [0, ""]


def test_a_package_of_nobody_is_a_bug():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), workshop():
        import no_such_package  # noqa: F401


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_package_of_an_extra_is_told(extra):
    package = EXTRAS[extra][0]
    with pytest.raises(MissingExtra) as told, workshop():
        raise ModuleNotFoundError(f"No module named '{package}.part'", name=f"{package}.part")
    assert told.value.hint == f'pip install "penjing[{extra}]"'
