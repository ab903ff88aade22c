"""The seedling that ships, whole: as good as its card says, and still after its default compression."""

from __future__ import annotations

import re

import pytest

import penjing
from penjing.models.pretrained import pretrained_folder

pytestmark = pytest.mark.slow
NAMES = {
    "picture → text, recall@1": "retrieval/image_to_text_recall_at_1",
    "text → picture, recall@1": "retrieval/text_to_image_recall_at_1",
    "speech → picture, recall@1": "retrieval/audio_to_image_recall_at_1",
    "captions wholly true": "caption/truth",
    "typed questions, exact answer": "vqa/accuracy",
    "spoken questions, exact answer": "spoken_vqa/accuracy",
    "words wrong in transcripts": "speech/wer",
    "the same, a voice never heard": "new_speaker/wer",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The document of the default compression."""
    return penjing.compress("seedling", tmp_path_factory.mktemp("golden") / "seedling", data="scenes")


@pytest.mark.parametrize("title", NAMES)
def test_the_weights_reach_what_their_card_states(title, found):
    card = (pretrained_folder("seedling") / "README.md").read_text(encoding="utf8")
    stated = float(re.search(rf"\| {re.escape(title)} \| ([0-9.]+)", card)[1])
    value = found["source"]["metrics"][NAMES[title]]["value"]
    if NAMES[title].endswith("wer"):
        assert 1 - value >= 0.95 * (1 - stated)
    else:
        assert value >= 0.95 * stated


def test_the_default_compression_keeps_every_task(found):
    assert found["published"]
    assert found["result"]["size_bytes"] <= 0.30 * found["source"]["size_bytes"]
    held = {goal["metric"] for goal in found["goals"] if goal["met"]}
    assert held >= {"retrieval/recall_at_1", "caption/truth", "vqa/accuracy", "spoken_vqa/accuracy", "speech/wer"}
