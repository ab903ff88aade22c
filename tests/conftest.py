"""Fixtures shared by all tests: no network, few threads, tiny models."""

from __future__ import annotations

import atexit
import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine makes nothing wrong
settings.load_profile("house")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PENJING_CACHE" not in os.environ:
    os.environ["PENJING_CACHE"] = tempfile.mkdtemp(prefix="penjing-cache-")
    atexit.register(shutil.rmtree, os.environ["PENJING_CACHE"], ignore_errors=True)

WORKSHOP_INSTALLED = importlib.util.find_spec("torch") is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without torch, leave alone every file (and every folder, with its conftest) that marks no test of the shop."""
    if WORKSHOP_INSTALLED:
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return True if not any("mark.shop" in path.read_text(encoding="utf8") for path in files) else None


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that the first process to need it builds, for all processes of the run; nobody changes it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "artifacts" / name
    folder.parent.mkdir(exist_ok=True)
    with open(folder.parent / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build(folder)
    return folder


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper of random weights that knows English and German."""
    from tiny_speech import save_whisper

    return save_whisper(tmp_path_factory.mktemp("models") / "whisper")


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen short clips, dealt to the three parts."""
    from tiny_speech import save_sounds

    return save_sounds(tmp_path_factory.mktemp("data") / "sounds")


@pytest.fixture(scope="session")
def speech_artifact(whisper_folder: Path, sound_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Whisper after the default recipe, as graphs and as a checkpoint."""
    import penjing

    return built_once(
        tmp_path_factory,
        "whisper-small",
        lambda out: penjing.compress(
            whisper_folder, out, data=sound_folder, goals=["size_bytes<=90%"], formats=["onnx", "checkpoint"], threads=1
        ),
    )


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty of the built-in pictures, dealt to the three parts."""
    from tiny_pictures import save_pictures

    return save_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="session")
def picture_artifact(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dual encoder of our own after the default recipe, held to the default goals."""
    import penjing

    return built_once(
        tmp_path_factory,
        "pictures-small",
        lambda out: penjing.compress("pictures-dual-encoder", out, data=picture_folder),
    )


@pytest.fixture(scope="session")
def seedling_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny seedling of random weights."""
    from tiny_seedling import save_seedling

    return save_seedling(tmp_path_factory.mktemp("models") / "small-seedling")


@pytest.fixture(scope="session")
def seedling_artifact(seedling_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny seedling after weight rounding; calibrating is tested with the real one."""
    import penjing

    return built_once(
        tmp_path_factory,
        "seedling-small",
        lambda out: penjing.compress(seedling_folder, out, recipe="weights", goals=["cosine>=0.9"]),
    )


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model of random weights, with its tokenizer."""
    from tiny_language import save_language

    return save_language(tmp_path_factory.mktemp("models") / "language")


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty texts of arbitrary words that the tiny language model knows."""
    from tiny_language import save_texts

    return save_texts(tmp_path_factory.mktemp("data") / "texts.jsonl")


@pytest.fixture(scope="session")
def language_artifact(language_folder: Path, texts_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny language model after the default recipe."""
    import penjing

    return built_once(
        tmp_path_factory,
        "language-small",
        lambda out: penjing.compress(
            language_folder, out, data=texts_file, goals=["perplexity<=+2%", "size_bytes<=40%"], threads=1
        ),
    )


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder of texts, with its tokenizer and the files of sentence-transformers."""
    from tiny_encoders import save_encoder

    return save_encoder(tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty scored pairs of texts."""
    from tiny_encoders import save_pairs

    return save_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl")


@pytest.fixture(scope="session")
def encoder_artifact(encoder_folder: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder after the default recipe, as graphs and as a checkpoint."""
    import penjing

    goals = ["spearman>=-0.05", "cosine>=0.98", "size_bytes<=60%"]
    return built_once(
        tmp_path_factory,
        "encoder-small",
        lambda out: penjing.compress(
            encoder_folder, out, data=pairs_file, goals=goals, formats=["onnx", "checkpoint"], threads=1
        ),
    )


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ResNet with batch normalisation and its image processor."""
    from tiny_encoders import save_image_classifier

    return save_image_classifier(tmp_path_factory.mktemp("models") / "classifier")


@pytest.fixture(scope="session")
def labelled_folder(classifier_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty pictures labelled by the tiny ResNet itself."""
    from tiny_encoders import save_labelled

    return save_labelled(tmp_path_factory.mktemp("data") / "labelled", classifier_folder)


@pytest.fixture(scope="session")
def classifier_artifact(
    classifier_folder: Path, labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny ResNet after the default recipe."""
    import penjing

    return built_once(
        tmp_path_factory,
        "classifier-small",
        lambda out: penjing.compress(
            classifier_folder, out, data=labelled_folder, goals=["accuracy>=-0.2", "size_bytes<=90%"], threads=1
        ),
    )
