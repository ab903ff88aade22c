"""What ranges are calibrated on: the user's rows, built-in rows, augmented copies; and what is refused."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile

from penjing.data.row import Row
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.pipeline.material import VALIDATION_ROWS, RangeRows, range_material, validation_material

SPEECH = {"audio": {"sampling_rate": 16000}}
CLIP = Path(str(files("penjing"))) / "data" / "builtin" / "calibration" / "audio" / "fleurs-de-000.ogg"


def user_rows(count: int = 3) -> list[Row]:
    return [Row(f"mine-{n}", {"text": f"text {n}"}, "audio", b"%d" % n) for n in range(count)]


def test_built_in_rows_stand_behind_the_users():
    mine = split(load_dataset("speech")).calibrate
    found = range_material("speech-seq2seq", SPEECH, mine, (), builtin=True)
    assert found.rows[: len(mine)] == mine
    assert {row.id.partition("/")[0] for row in found.rows[len(mine) :]} == {"calibration-audio"}
    calibrating = len(found.rows) - len(mine)  # none of `speech`: these are the user's already
    choosing = Counter(row.id.partition("/")[0] for row in found.validation)
    assert found.sets == {
        "calibration-audio": calibrating + choosing["calibration-audio"],
        "speech": choosing["speech"],
    }
    alone = validation_material(found)
    assert (alone.rows, alone.validation, alone.sets) == ((), found.validation, choosing)
    assert {"people"} == {row.fields["source"] for row in found.rows[len(mine) :]}


def test_rows_of_people_in_several_languages_are_among_them():
    found = range_material("speech-seq2seq", SPEECH, split(load_dataset("speech")).calibrate, (), builtin=True)
    assert len({row.fields.get("language") for row in found.rows}) >= 4


def test_a_set_of_the_users_own_to_calibrate_on_stands_alone():
    mine = split(load_dataset("speech")).calibrate
    found = range_material("speech-seq2seq", SPEECH, mine, (), builtin=False)
    assert (found.rows, found.validation, found.sets) == (mine, (), {})


def test_a_test_row_is_not_calibrated_on_whatever_it_is_called():
    test_row = Row("renamed.ogg", {"text": "another transcript"}, "audio", CLIP.read_bytes())
    mine = split(load_dataset("speech")).calibrate
    with_all = range_material("speech-seq2seq", SPEECH, mine, (), builtin=True)
    without = range_material("speech-seq2seq", SPEECH, mine, [test_row], builtin=True)
    names = {row.id for row in (*with_all.rows, *with_all.validation)} - {
        row.id for row in (*without.rows, *without.validation)
    }
    assert names == {"calibration-audio/fleurs-de-000.ogg"}


def test_texts_are_compared_by_their_words():
    texts = load_dataset("calibration-text")
    first = texts.rows[0]
    found = range_material("encoder", {"text": {}}, (), [Row("mine", {"text": first.fields["text"]})], builtin=True)
    assert first.fields["text"] not in {row.fields["text"] for row in (*found.rows, *found.validation)}


@pytest.mark.parametrize(
    ("task", "settings", "first"),
    [
        ("dual-encoder", {"image": {"size": 1}, "text": {}}, "calibration-images"),
        ("dual-encoder", {"audio": {"hop": 1}, "text": {}}, "calibration-audio"),
        ("classifier", {"image": {"size": 1}}, "calibration-images"),
        ("classifier", {"text": {}}, "calibration-text"),
        ("encoder", {"text": {}}, "calibration-text"),
        ("multimodal", {"image": {"size": 1}, "audio": {"hop": 1}}, "scenes"),
    ],
)
def test_a_task_gets_material_of_what_it_is_fed_with(task, settings, first):
    assert next(iter(range_material(task, settings, (), (), builtin=True).sets)) == first


def test_float_sites_are_chosen_on_rows_that_nothing_was_calibrated_on():
    found = range_material("encoder", {"text": {}}, (), (), builtin=True)
    assert len(found.validation) == 2 * VALIDATION_ROWS
    assert not {row.id for row in found.validation} & {row.id for row in found.rows}


def test_languages_that_a_model_does_not_know_are_left_to_its_default():
    settings = {**SPEECH, "generation": {"languages": {"en": 1, "de": 2}}}
    found = range_material("speech-seq2seq", settings, (), (), builtin=True)
    assert {row.fields.get("language") for row in found.rows} <= {"en", "de", None}
    assert any("language" not in row.fields for row in found.rows)


class EchoFamily:
    def batches(self, settings, folder, rows):
        for row in rows:
            yield {"rms": float(np.sqrt((soundfile.read(row.file)[0] ** 2).mean())), "id": row.id}


def test_every_row_comes_once_more_augmented(tmp_path):
    rows = split(load_dataset("speech")).calibrate[:4]
    ranges = RangeRows(range_material("speech-seq2seq", SPEECH, rows, (), builtin=False), "speech-seq2seq", 0, tmp_path)
    model = type("Model", (), {"family": EchoFamily(), "settings": {}, "folder": tmp_path})
    clean = ranges.batches(model, augment=False)
    both = ranges.batches(model, augment=True)
    assert (len(clean), len(both)) == (ranges.count(augment=False), ranges.count(augment=True)) == (4, 8)
    assert both[:4] == clean
    assert [batch["id"] for batch in both[4:]] == [f"{row.id}~1" for row in rows]
    assert all(one["rms"] != other["rms"] for one, other in zip(clean, both[4:], strict=True))
    assert ranges.batches(model, augment=True) == both  # seeded


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("dual-encoder", {"text"}),
        ("image-to-text", {"text"}),
        ("visual-question-answering", {"question", "answer"}),
    ],
)
def test_rows_have_what_a_task_is_fed_with(task, columns):
    found = range_material(task, {"image": {"size": 1}, "text": {}}, (), (), builtin=True)
    assert found.rows
    assert all(columns <= set(row.fields) for row in (*found.rows, *found.validation))
