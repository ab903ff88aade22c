"""Which rows a model of many modalities is judged by, and that each counts once for each use."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.judge.multimodal import MultimodalJudge, check_uses, multimodal_metrics, use, uses
from penjing.runtimes.transcription import Transcription
from penjing.scenes.captions import caption
from penjing.scenes.scene import imagine

pytestmark = pytest.mark.shop
SCENES = [imagine(seed) for seed in range(1, 5)]


def told(scene, number):
    fields = {"text": caption(scene), "scene": scene.as_json(), "speaker": "new" if number % 2 else "known"}
    return Row(f"told-{number}", fields, "image", b"p%d" % number, b"s%d" % number)


ROWS = [
    *(told(scene, number) for number, scene in enumerate(SCENES)),
    Row("typed", {"question": "how many", "answer": "two"}, "image", b"p0"),
    Row("spoken", {"question": "what is it", "answer": "red star", "speaker": "new"}, "image", b"p0", b"q0"),
]


class Parrot:
    """Knows the first scene by heart; hears everything right but one word."""

    task = "multimodal"

    def __init__(self):
        self.calls = []

    def embed(self, items, modality):
        self.calls.append(("embed", modality))
        places = {"text": [caption(scene) for scene in SCENES], "image": [b"p0", b"p1", b"p2", b"p3"]}
        known = places.get(modality, [b"s0", b"s1", b"s2", b"s3"])
        return np.eye(4)[[known.index(item) for item in items]]

    def caption(self, image):
        self.calls.append(("caption", image))
        return caption(SCENES[0])

    def ask(self, image, question):
        self.calls.append(("ask", question))
        return "two" if question == "how many" else "blue star"

    def transcribe(self, sound, *, speech_filter):
        self.calls.append(("transcribe", sound))
        heard = "what was it" if sound == b"q0" else caption(SCENES[int(sound[1:])])
        return Transcription(heard, None, 1.0, ())


def test_rows_are_used_for_all_that_they_can_be_used_for():
    assert {task: len(rows) for task, rows in uses(ROWS).items()} == {
        "retrieval": 4, "caption": 4, "vqa": 1, "spoken_vqa": 1, "speech": 5, "new_speaker": 3,
    }  # fmt: skip
    assert [*uses([ROWS[4]])] == ["vqa"]
    assert [*uses([Row("clip", {"text": "hello"}, "audio", b"s")])] == ["retrieval", "speech"]


def test_every_promised_metric_is_measured_and_right():
    judge = MultimodalJudge(parrot := Parrot(), progress := lambda done, total: seen.append((done, total)))
    seen: list[tuple[int, int]] = []
    assert progress
    scores = judge(ROWS)
    assert sorted(scores) == sorted(multimodal_metrics(ROWS))
    values = {name: score.value for name, score in scores.items()}
    assert values["retrieval/recall_at_1"] == values["retrieval/audio_to_image_recall_at_1"] == 1.0
    assert values["caption/truth"] == 0.25
    assert (values["vqa/accuracy"], values["spoken_vqa/accuracy"]) == (1.0, 0.0)
    words = sum(len(caption(scene).replace(",", "").split()) for scene in SCENES) + 3
    assert values["speech/wer"] == pytest.approx(1 / words)
    assert values["new_speaker/wer"] > values["speech/wer"]
    assert judge.heard["spoken"] == "what was it"
    assert sum(what == "transcribe" for what, _ in parrot.calls) == 5, "a new speaker's clips are heard once"
    assert seen[-1] == (18, 18)


def test_one_item_is_everything_that_a_row_is_for():
    parrot = Parrot()
    use(parrot, ROWS[0])
    assert [what for what, _ in parrot.calls] == ["embed", "embed", "embed", "caption", "transcribe"]
    use(parrot := Parrot(), ROWS[4])
    assert parrot.calls == [("ask", "how many")]
    use(parrot := Parrot(), ROWS[5])
    assert parrot.calls == [("ask", b"q0"), ("transcribe", b"q0")]


def test_a_row_for_nothing_is_refused():
    with pytest.raises(DataError, match="'bare' can be used for nothing"):
        check_uses([*ROWS, Row("bare", {"label": "cat"}, "image", b"p")])
