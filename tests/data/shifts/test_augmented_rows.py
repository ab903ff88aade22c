"""Rows of calibration: what spoils ranges is refused, and copies are distorted at random but repeatably."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from penjing.data.row import Row
from penjing.data.shifts import augment
from penjing.data.shifts.augment import augmented_rows
from penjing.data.shifts.inputs import Inputs
from penjing.data.shifts.media import check_calibration_media, read_clip, read_picture
from penjing.data.shifts.registry import AUGMENTATIONS, of_modality
from penjing.errors import DataError

pytestmark = pytest.mark.shop


def sound(samples: Any, rate_hz: int = 16000) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.asarray(samples, np.float32), rate_hz, format="wav", subtype="FLOAT")
    return stream.getvalue()


def hiss(seed: int, level: float = 0.1) -> bytes:
    return sound(level * np.random.default_rng(seed).standard_normal(8000))


def picture(levels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(levels, np.uint8)).save(stream, "png")
    return stream.getvalue()


def grain(seed: int) -> bytes:
    return picture(np.random.default_rng(seed).integers(0, 255, (32, 32, 3)))


def inputs_of(row: Row) -> Inputs:
    inputs: dict[Any, tuple[str, ...]] = {"image": ("file",)} if row.image is not None else {}
    if row.sound is not None:
        inputs["audio"] = ("file",) if row.media == "audio" else ("spoken",)
    return {**inputs, **({"text": ("text",)} if "text" in row.fields else {})}


def test_copies_are_distorted_in_all_inputs_and_named_by_number(tmp_path: Path) -> None:
    rows = [
        Row(f"r{n}", {"text": "The first, and the last.", "label": "x"}, "image", grain(n), hiss(n)) for n in range(6)
    ]
    copies = augmented_rows(rows, inputs_of, 0, tmp_path, copies=3)
    assert [row.id for row in copies] == [f"r{n}~{number}" for n in range(6) for number in (1, 2, 3)]
    assert {row.fields["label"] for row in copies} == {"x"}
    assert len({(row.file, row.spoken) for row in copies}) == 18
    for row in copies:
        assert read_picture(row.file).size != (0, 0)  # type: ignore[arg-type]
        assert len(read_clip(row.spoken).samples) >= 6000  # type: ignore[arg-type]
    assert len({row.fields["text"] for row in copies}) > 9


def test_the_same_again_in_any_order(tmp_path: Path) -> None:
    rows = [Row(f"r{n}", {"text": "The first, and the last."}, "audio", hiss(n)) for n in range(8)]
    once, again = (
        {row.id: (row.fields, Path(row.file).name, Path(row.file).read_bytes()) for row in copies}  # type: ignore[arg-type]
        for copies in (
            augmented_rows(rows, inputs_of, 5, tmp_path / "once"),
            augmented_rows(rows[::-1], inputs_of, 5, tmp_path / "again"),
        )
    )
    assert once == again
    other = augmented_rows(rows, inputs_of, 6, tmp_path / "other")
    assert sum(Path(row.file).name == once[row.id][1] for row in other) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("modality", ["audio", "image", "text"])
def test_chains_are_of_one_to_three_augmentations_of_the_modality(modality: Any) -> None:
    chains = [augment._drawn_chain(modality, 0, f"row-{number}", "~1.0") for number in range(300)]
    names = [[kind.name for kind in chain] for chain in chains]
    assert Counter(len(set(chain)) for chain in names) == Counter(len(chain) for chain in names)
    assert all(70 < count < 130 for count in Counter(len(chain) for chain in names).values())
    used = Counter(name for chain in names for name in chain)
    assert set(used) == {kind.name for kind in of_modality(AUGMENTATIONS, modality)}
    assert min(used.values()) > 60


def test_a_chain_that_leaves_silence_is_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, variants = augment._drawn_chain, []
    monkeypatch.setattr(augment, "_drawn_chain", lambda *names: variants.append(names[-1]) or draw(*names))
    rows = [Row(f"r{n}", {}, "audio", hiss(n, level=0.003)) for n in range(40)]  # -50 dBFS: -10 dB is silence
    copies = augmented_rows(rows, inputs_of, 0, tmp_path)
    assert len(copies) == 40
    assert Counter(variants)["~1.0"] == 40
    assert 1 <= Counter(variants)["~1.1"] < 30
    assert all(np.abs(read_clip(row.file).samples).max() > 0.001 for row in copies)  # type: ignore[arg-type]


def test_rows_of_which_nothing_is_left_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 'dead': nothing is left of its audio"):
        augmented_rows([Row("dead", {}, "audio", sound(np.zeros(4000)))], inputs_of, 0, tmp_path)


def test_good_rows_pass() -> None:
    rows = [
        Row("a", {"text": "Words."}, "audio", hiss(0)),
        Row("b", {}, "image", grain(0), hiss(1)),
        Row("c", {"text": "x"}),
    ]
    check_calibration_media(rows, inputs_of)
    with pytest.raises(DataError):
        check_calibration_media([*rows, Row("d", {"text": "\t"})], inputs_of)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (Row("bad", {"text": " \n"}), "the text in 'text' is empty"),
        (Row("bad", {}, "audio", sound(np.zeros(16000))), "silent"),
        (Row("bad", {}, "audio", sound(np.full(16000, 0.5))), "silent or one constant value"),
        (Row("bad", {}, "audio", hiss(0, 0.0005)), "silent"),
        (Row("bad", {}, "audio", sound([0.1, np.nan, 0.2] * 100)), "not finite"),
        (Row("bad", {}, "image", picture(np.full((9, 9, 3), 7))), "all pixels of the image are the same"),
        (Row("bad", {}, "image", grain(0), sound(np.zeros(900))), "silent"),
        (Row("bad", {}, "image", b"no picture"), "not an image"),
    ],
)
def test_rows_that_spoil_ranges_are_refused_by_name(row: Row, fault: str) -> None:
    good = Row("good", {"text": "Fine."}, "audio", hiss(3))
    with pytest.raises(DataError, match=f"^row 'bad': .*{fault}") as caught:
        check_calibration_media([good, row], inputs_of)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_shared_file_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(
        "penjing.data.shifts.media.read_clip", lambda source: decoded.append(source) or read_clip(source)
    )
    rows = [Row(f"r{n}", {"text": "x"}, "audio", hiss(n // 5)) for n in range(10)]
    check_calibration_media(rows, inputs_of)
    assert len(decoded) == 2
