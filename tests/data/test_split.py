"""Three disjoint parts: stable, machine independent, never empty, and never with one row in two of them."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penjing.data.content import content_key
from penjing.data.row import DataSet, Row
from penjing.data.split import Parts, bunch, lot, split, split_with_calibration
from penjing.errors import DataError

pytestmark = pytest.mark.shop


def texts(count: int, prefix: str = "row") -> DataSet:
    return DataSet("texts", tuple(Row(f"{prefix}-{n}", {"text": f"{prefix} {n}"}) for n in range(count)))


def ids(parts: Parts) -> list[list[str]]:
    return [sorted(row.id for row in part) for part in parts]


def sound(seed: int, kind: str = "wav") -> bytes:
    stream = io.BytesIO()
    samples = np.random.default_rng(seed).integers(-9000, 9000, 1000).astype(np.int16)
    soundfile.write(stream, samples, 8000, format=kind, subtype="PCM_16")
    return stream.getvalue()


def image(seed: int, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 5, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def test_shares_are_about_20_20_60() -> None:
    counts = [len(part) for part in split(texts(2000))]
    assert sum(counts) == 2000
    assert [count / 2000 for count in counts] == pytest.approx([0.2, 0.2, 0.6], abs=0.03)


def test_lots_are_the_same_on_every_machine() -> None:
    assert lot("row-0") == pytest.approx(0.23637573, abs=1e-8)
    assert ids(split(texts(12))) == ids(split(texts(12)))


@given(count=st.integers(5, 60), seed=st.integers(0, 99), prefix=st.text(max_size=5))
def test_parts_are_complete_and_stable_under_reordering(count: int, seed: int, prefix: str) -> None:
    data = texts(count, prefix)
    parts = split(data)
    assert all(parts)
    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in data.rows)
    shuffled = list(data.rows)
    random.Random(seed).shuffle(shuffled)
    assert ids(split(DataSet("texts", tuple(shuffled)))) == ids(parts)


def test_rows_keep_their_part_when_others_come() -> None:
    few, many = split(texts(100)), split(texts(300))
    for before, after in zip(ids(few), ids(many), strict=True):
        assert set(before) <= set(after)


def test_an_empty_part_gets_the_nearest_rows() -> None:
    names = sorted((f"n{n}" for n in range(200)), key=lot)[-6:]
    data = DataSet("high", tuple(Row(name, {"text": name}) for name in names))
    assert min(map(lot, names)) > 0.4
    assert ids(split(data)) == [[names[0]], [names[1]], sorted(names[2:])]


def test_every_part_has_every_class_of_three_rows_or_more() -> None:
    counts = {"a": 40, "b": 6, "c": 3, "d": 2}
    rows = [
        Row(f"{kind}{n}", {"text": f"{kind}{n}", "label": kind}) for kind, count in counts.items() for n in range(count)
    ]
    plain = split(DataSet("plain", tuple(Row(row.id, {"text": row.id}) for row in rows)))
    parts = split(DataSet("classes", tuple(rows)))
    for part in parts:
        assert {"a", "b", "c"} <= {row.fields["label"] for row in part}
    kept = [{row.id for row in part} & {row.id for row in other} for part, other in zip(parts, plain, strict=True)]
    assert sum(map(len, kept)) >= len(rows) - 4  # nearly all are where they would be without classes
    halves = split_with_calibration(texts(1), DataSet("classes", tuple(rows)))
    for part in halves[:2]:
        assert {row.fields["label"] for row in part} == set(counts)


def test_rows_of_one_file_stay_together() -> None:
    rows = [
        Row(f"{n}.png" + (f"#{k}" if k > 1 else ""), {"text": f"{n} {k}"}, "image", Path("x") / f"{n}.png")
        for n in range(30)
        for k in (1, 2, 3)
    ]
    assert bunch(rows[1]) == bunch(rows[0]) == "0.png"
    for part in split(DataSet("captions", tuple(rows))):
        assert len(part) == 3 * len({row.file for row in part})


def test_the_sets_own_parts_are_honoured() -> None:
    names = ["judge", "calibrate", "select", "judge"]
    rows = texts(4).rows
    parts = split(DataSet("own", rows, {row.id: name for row, name in zip(rows, names, strict=True)}))
    assert ids(parts) == [["row-1"], ["row-2"], ["row-0", "row-3"]]


def test_own_parts_that_are_not_whole() -> None:
    rows = texts(3).rows
    with pytest.raises(DataError, match="row 'row-2' is in none of"):
        split(DataSet("own", rows, {"row-0": "judge", "row-1": "select"}))
    with pytest.raises(DataError, match="own has no rows to calibrate"):
        split(DataSet("own", rows[:2], {"row-0": "judge", "row-1": "select"}))


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_rows(count: int) -> None:
    with pytest.raises(DataError, match=f"has {count} rows") as caught:
        split(texts(count))
    assert "at least 5" in caught.value.hint


def test_a_separate_set_calibrates_and_selects() -> None:
    parts = split_with_calibration(texts(10), texts(40, "other"))
    assert len(parts.judge) == 10
    assert len(parts.calibrate) + len(parts.select) == 40
    assert min(len(parts.calibrate), len(parts.select)) > 8
    two = split_with_calibration(texts(1), texts(2, "other"))
    assert [len(part) for part in two] == [1, 1, 1]


def test_fixed_parts_with_a_separate_set() -> None:
    names = ["judge", "calibrate", "select"] * 2
    rows = texts(6).rows
    own = DataSet("own", rows, {row.id: name for row, name in zip(rows, names, strict=True)})
    assert ids(split_with_calibration(own, texts(2, "other")))[2] == ["row-0", "row-3"]
    assert ids(split_with_calibration(texts(1, "other"), own))[:2] == [["row-1", "row-4"], ["row-2", "row-5"]]
    assert ids(split_with_calibration(own, own)) == ids(split(own))


def test_a_separate_set_that_is_too_small_or_the_same() -> None:
    with pytest.raises(DataError, match="too few for calibrate, select"):
        split_with_calibration(texts(9), texts(1, "other"))
    with pytest.raises(DataError, match="have the same content"):
        split_with_calibration(texts(9), texts(9))
    rows = texts(2).rows
    with pytest.raises(DataError, match="no rows to judge"):
        split_with_calibration(DataSet("own", rows, {row.id: "select" for row in rows}), texts(9, "other"))
    with pytest.raises(DataError, match="no rows to calibrate"):
        split_with_calibration(texts(9, "other"), DataSet("own", rows, {row.id: "select" for row in rows}))


@pytest.mark.parametrize("media", ["audio", "image"])
def test_a_planted_duplicate_is_refused_and_both_rows_are_named(media: str) -> None:
    make, other_kind = (sound, "flac") if media == "audio" else (image, "bmp")
    rows = [Row(f"{n}", {"label": "same"}, media, make(n)) for n in range(12)]  # type: ignore[arg-type]
    assert all(split(DataSet("clean", tuple(rows))))
    judged = split(DataSet("clean", tuple(rows))).judge[0]
    name = next(f"copy-{n}" for n in range(99) if lot(f"copy-{n}") < 0.2)
    copy = Row(name, {"label": "same"}, media, make(int(judged.id), other_kind))  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        split(DataSet("planted", (*rows, copy)))
    assert repr(judged.id) in caught.value.message
    assert repr(name) in caught.value.message
    assert "same content" in caught.value.message


def test_equal_rows_in_one_part_are_no_leak() -> None:
    names = [f"copy-{n}" for n in range(99) if lot(f"copy-{n}") > 0.4][:2]
    copies = tuple(Row(name, {"text": "again"}) for name in names)
    assert len(split(DataSet("texts", (*texts(20).rows, *copies))).judge) >= 2


def test_content_key_sees_pixels_samples_and_texts_only() -> None:
    def row(media: str | None, file: bytes | None, name: str = "a", text: str = "t") -> Row:
        return Row(name, {"text": text}, media, file)  # type: ignore[arg-type]

    assert content_key(row("audio", sound(1))) == content_key(row("audio", sound(1, "flac"), "b"))
    assert content_key(row("image", image(1))) == content_key(row("image", image(1, "bmp"), "b"))
    keys = {
        content_key(row("audio", sound(1))),
        content_key(row("audio", sound(2))),
        content_key(row("audio", sound(1), text="u")),
        content_key(row("image", image(1))),
        content_key(row(None, None)),
    }
    assert len(keys) == 5


def test_media_of_different_texts_or_lengths_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(row: Row) -> str:
        raise AssertionError(row.id)

    monkeypatch.setattr("penjing.data.split.content_key", refuse)
    rows = tuple(Row(f"{n}", {"text": str(n)}, "audio", b"not even a sound") for n in range(20))
    assert all(split(DataSet("different", rows)))


def test_a_damaged_file_among_equal_labels_is_named() -> None:
    rows = [Row(f"{n}", {"label": "same"}, "image", image(n)) for n in range(12)]
    rows += [Row(f"bad-{n}", {"label": "same"}, "image", b"damaged") for n in range(12)]
    with pytest.raises(DataError, match="not an image"):
        split(DataSet("damaged", tuple(rows)))
