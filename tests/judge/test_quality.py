"""Runners judged by the metrics of their task; rows that cannot judge are refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import soundfile

from penjing.data.media import check_media
from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores, exp_ratio, measure_all
from penjing.judge.quality import (
    check_answers,
    compare_outputs,
    judge,
    liken,
    metric_names,
)
from penjing.judge.speed import graph_latencies, item_latencies
from penjing.judge.tasks import Judged, transcribe_row
from penjing.runtimes.classifier import Classified
from penjing.runtimes.transcription import Transcription
from tiny_speech import RATE_HZ, sound


class Listener:
    """Says the same of every window."""

    task = "speech-seq2seq"
    sampling_rate_hz = RATE_HZ
    settings = MappingProxyType({"audio": {}})

    def __init__(self, text: str = "the red bus") -> None:
        self.text = text
        self.languages: list[str | None] = []

    def transcribe(self, sound: Path, language: str | None = None, **options: Any) -> Transcription:
        assert sound.is_file()
        self.languages.append(language)
        return Transcription(self.text, language, 1.0, ())


class Viewer:
    """Knows every picture by the number in its id."""

    task = "dual-encoder"
    settings = MappingProxyType({"image": {"size": 8}})

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self.seen = 0

    def embed_rows(self, rows: Sequence[Row]) -> np.ndarray:
        self.seen += len(rows)
        return np.stack([np.eye(len(self.texts), dtype=np.float32)[int(row.id)] for row in rows])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([np.eye(len(self.texts), dtype=np.float32)[self.texts.index(text)] for text in texts])


class Scaled:
    """A graph that multiplies."""

    inputs = ("x",)
    outputs = ("y", "logits")

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, arrays):
        return {"y": self.factor * arrays["x"], "logits": arrays["x"] ** 2 * self.factor}


def clips(folder, count: int = 3, seconds: float = 0.5) -> list[Row]:
    rows = []
    for number in range(count):
        path = folder / f"{number}.wav"
        soundfile.write(path, sound(seconds, number), RATE_HZ)
        rows.append(Row(f"{number}.wav", {"text": "the red bus" if number else "the red cat"}, "audio", path))
    return rows


def pictures(column: str, values: Sequence[str]) -> list[Row]:
    return [Row(str(number), {column: value}, "image", b"png") for number, value in enumerate(values)]


def test_speech(tmp_path):
    done = []
    found = judge(Listener(), clips(tmp_path), lambda *step: done.append(step))
    assert tuple(found.scores) == metric_names("speech-seq2seq", clips(tmp_path)) == ("wer", "cer")
    assert found.scores["wer"].value == pytest.approx(1 / 9)
    assert found.transcripts["0.wav"] == ("the red cat", "the red bus")
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_row_says_its_language(tmp_path):
    (row,) = clips(tmp_path, 1)
    listener = Listener()
    transcribe_row(listener, Row(row.id, {**row.fields, "language": "de"}, "audio", row.file))
    assert listener.languages == ["de"]


def test_retrieval():
    rows = pictures("text", ["a star", "a ring", "a cat"])
    found = judge(Viewer(["a star", "a cat", "a ring"]), rows)
    assert set(found.scores) == set(metric_names("dual-encoder", rows))
    assert found.scores["recall_at_1"].value == pytest.approx(1 / 3)
    assert found.transcripts == {}


def test_sounds_have_their_own_names(tmp_path):
    names = metric_names("dual-encoder", clips(tmp_path))
    assert {"recall_at_1", "audio_to_text_recall_at_1", "text_to_audio_median_rank"} <= set(names)
    assert not any("image" in name for name in names)


def test_zero_shot_where_rows_have_labels():
    rows = pictures("label", ["star", "ring", "star"])
    found = judge(Viewer(["star", "ring", "cat"]), rows)
    assert tuple(found.scores) == metric_names("dual-encoder", rows) == ("accuracy",)
    assert found.scores["accuracy"].value == pytest.approx(2 / 3)


def test_nothing_to_judge_by():
    with pytest.raises(DataError, match="no rows to judge by"):
        judge(Listener(), [])


def test_a_task_nobody_judges():
    runner = Listener()
    runner.task = "folding"
    with pytest.raises(DataError, match="the task 'folding' cannot be judged yet"):
        judge(runner, pictures("text", ["a"]))


@pytest.mark.parametrize(
    ("settings", "row"),
    [
        ({"audio": {}}, Row("1", {"text": "a"}, "image", b"png")),
        ({"audio": {}}, Row("1", {"text": "a"})),
        ({"image": {"size": 8}}, Row("1", {"text": "a"}, "audio", b"wav")),
        ({"image": {"size": 8}}, Row("1", {"text": "a"}, "image", None)),
    ],
)
def test_rows_of_the_wrong_kind(settings, row):
    with pytest.raises(DataError, match=f"row '1' has no {next(iter(settings))}"):
        check_media(settings, [row])


def test_rows_of_the_right_kind(tmp_path):
    rows = clips(tmp_path)
    check_media({"audio": {}}, rows)
    check_answers("speech-seq2seq", rows)
    check_answers("dual-encoder", pictures("label", ["a"]))
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("task", "rows", "column"),
    [
        ("speech-seq2seq", pictures("label", ["a"]), "text"),
        ("dual-encoder", [*pictures("label", ["a"]), Row("1", {"text": "a"}, "image", b"")], "label"),
        ("dual-encoder", pictures("question", ["a"]), "text"),
    ],
)
def test_rows_without_an_answer(task, rows, column):
    with pytest.raises(DataError, match=f"has no '{column}'"):
        check_answers(task, rows)


INPUTS = np.array([[0.5, -1.0, 2.0]], np.float32)


def outputs_of(source: float, result: float, inputs: np.ndarray = INPUTS) -> tuple:
    """What two models answer, each a factor."""
    return tuple(Scaled(factor)({"x": inputs}) for factor in (source, result))


def test_outputs_compared_without_data():
    same = compare_outputs([{"model": [outputs_of(1, 1)]}])
    assert set(same) == {"cosine", "logit_kl"}
    assert same["cosine"].value == pytest.approx(1)
    assert same["logit_kl"].value == pytest.approx(0, abs=1e-9)
    other = compare_outputs([{"model": [outputs_of(1, -1)]}])
    assert other["cosine"].value == pytest.approx(-1)
    assert other["logit_kl"].value > 0.1


def test_the_lowest_cosine_of_a_draw_counts():
    """Not a mean over components: that of the one that is ruined, and in no other's scores."""
    good, bad = outputs_of(1, 1), outputs_of(1, -1)
    found = compare_outputs([{"image": [good], "text": [good, bad]}, {"image": [good], "text": [good]}])
    assert {name: score.numerator.round(6).tolist() for name, score in found.items() if "cosine" in name} == {
        "cosine": [-1, 1],
        "image/cosine": [1, 1],
        "text/cosine": [-1, 1],
    }


def test_large_outputs_hide_no_small_ones():
    before = {"large": 1000 * np.ones((1, 4), np.float32), "small": np.ones((1, 4), np.float32)}
    after = {**before, "small": np.array([[1, -1, 1, -1]], np.float32)}
    assert compare_outputs([{"model": [(before, after)]}])["cosine"].value == pytest.approx(0)


def test_what_is_not_finite_is_refused():
    before, after = outputs_of(1, 1, INPUTS), outputs_of(1, 1, INPUTS * np.nan)
    found = compare_outputs([{"model": [(before[0], after[1])]}])
    assert found["cosine"].value == -1
    assert found["logit_kl"].value == np.inf


def test_items_are_timed_row_by_row():
    viewers = {name: Viewer(["a", "b"]) for name in ("source", "result")}
    found = item_latencies(viewers, pictures("text", ["a", "b"]), threads=2, rounds=5)
    assert set(found) == {"source", "result"}
    assert all(viewer.seen == 7 for viewer in viewers.values())  # two of warm-up
    assert all(0 < one.p50_ms <= one.p95_ms and (one.runs, one.threads) == (5, 2) for one in found.values())


def test_clips_are_timed_from_file_to_text(tmp_path):
    found = item_latencies({"only": Listener()}, clips(tmp_path, 1), threads=1, rounds=3)
    assert found["only"].p50_ms > 0


def test_outputs_that_only_one_has_say_nothing():
    before, after = outputs_of(1, 1)
    deeper = {**before, "present.1.key": np.ones((1, 2), np.float32)}
    found = compare_outputs([{"model": [(deeper, after)]}])
    assert found["cosine"].value == pytest.approx(1)
    wider = {name: np.concatenate([array, array], 1) for name, array in before.items()}
    with pytest.raises(DataError, match="no output of the result has the shape it had"):
        compare_outputs([{"model": [(before, wider)]}])


def test_graphs_are_timed_in_turns():
    ones = {"x": np.ones(3, np.float32)}
    found = graph_latencies({"one": (Scaled(1), ones), "two": (Scaled(2), ones)}, 1, rounds=4)
    assert [latency.runs for latency in found.values()] == [4, 4]


class Embedder:
    """Knows the length of a text, turned by an angle."""

    task = "encoder"
    settings = MappingProxyType({"text": {}})

    def __init__(self, turned: float = 0.0, width: int = 2) -> None:
        self.turned, self.width = turned, width

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        angles = np.array([len(text) / 10 for text in texts]) + self.turned
        return np.stack([np.cos(angles), np.sin(angles), *[0 * angles] * (self.width - 2)], 1).astype(np.float32)

    def embed_rows(self, rows: Sequence[Row]) -> np.ndarray:
        return self.embed_texts([row.fields["text"] for row in rows])


class Labeller:
    """Knows one label."""

    task = "classifier"
    labels = ("cat", "dog")

    def __init__(self) -> None:
        self.seen = 0

    def classify_row(self, row: Row) -> Classified:
        self.seen += 1
        return Classified("cat", 1.0, (("cat", 1.0), ("dog", 0.0)))


def test_encoders_by_scored_pairs_and_by_likeness():
    rows = [Row(str(n), {"text": "a", "text2": "a" * (n + 1), "score": str(-n)}) for n in range(5)]
    assert metric_names("encoder", rows) == ("spearman", "cosine")
    source, result = judge(Embedder(), rows), judge(Embedder(np.pi / 3), rows)
    assert source.scores["spearman"].value == pytest.approx(1)
    assert set(source.scores) == {"spearman"}
    scores = liken(source, result)
    assert set(scores) == {"spearman", "cosine"}
    assert scores["cosine"].numerator.tolist() == pytest.approx([0.5] * 5)
    assert set(liken(source, judge(Embedder(width=3), rows))) == {"spearman"}


def test_encoders_by_texts_alone():
    rows = [Row(str(n), {"text": "a" * n}) for n in range(4)]
    assert metric_names("encoder", rows) == ("cosine",)
    check_answers("encoder", rows)
    found = judge(Embedder(), rows)
    assert found.scores == {}
    assert liken(found, found)["cosine"].value == pytest.approx(1)
    assert item_latencies({"only": Embedder()}, rows, threads=1, rounds=3)["only"].p50_ms > 0


def test_classifiers():
    rows = [Row(str(n), {"text": "x", "label": label}) for n, label in enumerate(["cat", "dog", "0", "cat"])]
    assert metric_names("classifier", rows) == ("accuracy",)
    check_answers("classifier", rows, Labeller.labels)
    assert judge(Labeller(), rows).scores["accuracy"].value == pytest.approx(0.75)
    with pytest.raises(DataError, match="knows no label 'cat'"):
        check_answers("classifier", rows, ["bird", "fish"])
    labeller = Labeller()
    item_latencies({"only": labeller}, rows, threads=1, rounds=3)
    assert labeller.seen == 5


def test_what_reads_needs_texts_and_what_sees_pictures():
    check_media({"labels": ["a"], "text": {"lower": False}}, pictures("text", ["a"]))
    with pytest.raises(DataError, match="row '0' has no text"):
        check_media({"labels": ["a"], "text": {"lower": False}}, pictures("label", ["a"]))
    with pytest.raises(DataError, match="has no image"):
        check_media({"labels": ["a"], "image": {"resize": None}}, [Row("1", {"text": "a"})])


def test_surprise_is_counted_by_the_tokens_of_the_source():
    """The same nats over more and shorter tokens are no smaller perplexity."""
    source, result = (
        Judged({"perplexity": ItemScores("perplexity", np.array([6.0, 4.0]), np.array(count), exp_ratio)})
        for count in ([3.0, 2.0], [6.0, 4.0])
    )
    assert measure_all(result.scores)["perplexity"].value == pytest.approx(np.exp(1))
    assert measure_all(liken(source, result))["perplexity"].value == pytest.approx(np.exp(2))
