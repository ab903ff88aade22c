"""Rows of the gate under distortions: dealt evenly, the same every time, shared files shared, empty ones left out."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from penjing.data.row import Row
from penjing.data.shifts.inputs import Inputs
from penjing.data.shifts.media import read_clip, read_picture
from penjing.data.shifts.registry import GATE_SHIFTS, gate_shift, of_modality
from penjing.data.shifts.rows import ShiftedSet, shifted_rows
from penjing.data.source import load_dataset
from penjing.errors import DataError

pytestmark = pytest.mark.shop

AUDIO, IMAGE, TEXT = ([kind.name for kind in of_modality(GATE_SHIFTS, name)] for name in ("audio", "image", "text"))


def texts(count: int) -> list[Row]:
    return [Row(f"row-{number}", {"text": f"Number {number}, as it is written here."}) for number in range(count)]


def text_inputs(row: Row) -> Inputs:
    return {"text": ("text",)}


def file_inputs(row: Row) -> Inputs:
    return {"image": ("file",)} if row.media == "image" else {"audio": ("file",)}


def picture(seed: int, side: int = 24) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(stream, "png")
    return stream.getvalue()


def sound(seed: int, level: float = 0.1, rate_hz: int = 16000, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    samples = level * np.random.default_rng(seed).standard_normal((4000, channels))
    soundfile.write(stream, samples, rate_hz, format="wav", subtype="PCM_24")  # that of floats holds the time of day
    return stream.getvalue()


def kinds(shifted: ShiftedSet) -> dict[str, str]:
    return {entry.row.id: entry.kind for entry in shifted.rows}


def contents(shifted: ShiftedSet) -> dict[str, tuple[str, Mapping[str, str], str, str]]:
    """row id -> its kind, texts, and hashes of its media."""
    return {
        entry.row.id: (entry.kind, entry.row.fields, fingerprint(entry.row.file), fingerprint(entry.row.spoken))
        for entry in shifted.rows
    }


def fingerprint(source: Path | bytes | None) -> str:
    content = b"" if source is None else source if isinstance(source, bytes) else source.read_bytes()
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("count", [1, 2, 10, 60, 61])
def test_each_kind_gets_an_equal_number_of_rows(count: int, tmp_path: Path) -> None:
    shifted = shifted_rows(texts(count), text_inputs, 0, tmp_path)
    assert [entry.row.id for entry in shifted.rows] == [row.id for row in texts(count)]
    counts = Counter(kinds(shifted).values())
    assert set(counts) <= set(TEXT)
    assert all(counts[name] in (count // 3, count // 3 + 1) for name in TEXT)
    assert list(tmp_path.iterdir()) == []


def test_pictures_and_sounds_get_the_kinds_of_their_own(tmp_path: Path) -> None:
    rows = [Row(f"picture-{n}", {}, "image", picture(n)) for n in range(17)]
    rows += [Row(f"sound-{n}", {}, "audio", sound(n)) for n in range(23)]
    shifted = kinds(shifted_rows(rows, file_inputs, 0, tmp_path))
    for media, names, count in (("picture", IMAGE, 17), ("sound", AUDIO, 23)):
        counts = Counter(kind for row_id, kind in shifted.items() if row_id.startswith(media))
        assert set(counts) == set(names)
        assert set(counts.values()) == {count // len(names), count // len(names) + 1}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(30)), seed=st.integers(0, 3))
def test_the_order_of_rows_changes_nothing(order: Sequence[int], seed: int, tmp_path: Path) -> None:
    rows = texts(30)
    shuffled = shifted_rows([rows[index] for index in order], text_inputs, seed, tmp_path)
    assert contents(shuffled) == contents(shifted_rows(rows, text_inputs, seed, tmp_path))


def test_the_order_of_rows_with_media_changes_nothing(tmp_path: Path) -> None:
    pictures = [picture(n) for n in range(5)]
    rows = [Row(f"{n}.png#{again}", {}, "image", pictures[n]) for n in range(5) for again in range(3)]
    first, second = (shifted_rows(some, file_inputs, 0, tmp_path / str(n)) for n, some in enumerate((rows, rows[::-1])))
    assert contents(first) == contents(second)


def test_seeds_differ(tmp_path: Path) -> None:
    first, second = (shifted_rows(texts(60), text_inputs, seed, tmp_path) for seed in (0, 1))
    assert sum(kinds(first)[row_id] != kind for row_id, kind in kinds(second).items()) > 15


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_shifted_rows import contents, mixed_rows, mixed_inputs
from penjing.data.shifts.augment import augmented_rows
from penjing.data.shifts.rows import ShiftedRow, ShiftedSet, shifted_rows
folder = Path(sys.argv[1])
copies = augmented_rows(mixed_rows(), mixed_inputs, 7, folder, 2)
print(sorted(contents(shifted_rows(mixed_rows(), mixed_inputs, 7, folder)).items()))
print(sorted(contents(ShiftedSet(tuple(ShiftedRow(row, "") for row in copies))).items()))
"""


def mixed_rows() -> list[Row]:
    rows = [Row(f"a{n}", {"text": f"A sound, {n}."}, "audio", sound(n)) for n in range(12)]
    rows += [Row(f"i{n}", {"question": "What is it?"}, "image", picture(n), sound(n)) for n in range(22)]
    return rows + texts(6)


def mixed_inputs(row: Row) -> Inputs:
    if row.media == "audio":
        return {"audio": ("file",)}
    return (
        {"text": ("text",)} if row.media is None else {"image": ("file",), "audio": ("spoken",), "text": ("question",)}
    )


def test_processes_agree_whatever_their_hash_seed(tmp_path: Path) -> None:
    outputs = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / hash_seed), str(Path(__file__).parent)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == 0, ended.stderr
        outputs.append(ended.stdout)
    assert len(outputs[0]) > 10_000
    assert outputs[0] == outputs[1]


def test_rows_that_share_a_file_share_the_distorted_one(tmp_path: Path) -> None:
    files = []
    for number in range(9):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(picture(number))
    rows = [Row(f"{n}-{m}", {"text": f"{n}, {m}."}, "image", file) for n, file in enumerate(files) for m in range(5)]
    shifted = shifted_rows(rows, lambda row: {"image": ("file",), "text": ("text",)}, 3, tmp_path / "out")
    by_file: dict[str, set[tuple[str, Any]]] = {}
    for entry in shifted.rows:
        by_file.setdefault(entry.row.id[0], set()).add((entry.kind, entry.row.file))
    assert all(len(group) == 1 for group in by_file.values())
    names = [kind for group in by_file.values() for kind, _ in group]
    assert len(set(names)) == 9  # nine pictures, eleven kinds
    assert len(list((tmp_path / "out").iterdir())) == sum(name in IMAGE for name in names)


def test_two_sounds_of_a_row_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    rows = [Row(f"r{n}", {}, "audio", sound(n), sound(100 + n)) for n in range(11)]
    for entry in shifted_rows(rows, lambda row: {"audio": ("file", "spoken")}, 0, tmp_path).rows:
        assert entry.row.file != entry.row.spoken
        assert fingerprint(entry.row.file) != fingerprint(entry.row.spoken)


def test_one_input_alone_is_distorted(tmp_path: Path) -> None:
    before = {row.id: row for row in mixed_rows()}
    shifted = shifted_rows(list(before.values()), mixed_inputs, 0, tmp_path)
    assert len(shifted.rows) == len(before)
    for entry in shifted.rows:
        old, modality = before[entry.row.id], gate_shift(entry.kind).modality
        column = next(iter(mixed_inputs(old)[modality]))
        field = "fields" if modality == "text" else column
        assert replace(entry.row, **{field: getattr(old, field)}) == old
        assert getattr(entry.row, field) != getattr(old, field) or (old.id, entry.kind) in shifted.unchanged
    of_questions = Counter(entry.kind for entry in shifted.rows if entry.row.id.startswith("i"))
    assert set(of_questions) == {*AUDIO, *IMAGE, *TEXT}
    assert set(of_questions.values()) == {1}


def test_all_text_inputs_are_distorted_and_other_fields_are_not(tmp_path: Path) -> None:
    fields = {"text": "One, two.", "text2": "Three, four.", "label": "One, two.", "score": "0.5"}
    rows = [Row(f"pair-{number}", fields) for number in range(6)]
    for entry in shifted_rows(rows, lambda row: {"text": ("text", "text2")}, 0, tmp_path).rows:
        assert entry.row.fields["text"] != fields["text"]
        assert entry.row.fields["text2"] != fields["text2"]
        assert {name: entry.row.fields[name] for name in ("label", "score")} == {"label": "One, two.", "score": "0.5"}


def test_media_are_written_without_loss_at_their_own_rate(tmp_path: Path) -> None:
    rows = [Row(f"s{n}", {}, "audio", sound(n, rate_hz=22050, channels=2)) for n in range(11)]
    shifted = shifted_rows(rows, file_inputs, 0, tmp_path)
    (louder,) = (entry.row for entry in shifted.rows if entry.kind == "gain_up")
    clip = read_clip(louder.file)  # type: ignore[arg-type]
    before = read_clip(next(row.file for row in rows if row.id == louder.id))  # type: ignore[arg-type]
    assert clip.rate_hz == 22050
    assert np.array_equal(clip.samples, before.samples * np.float32(10 ** (12 / 20)))
    assert soundfile.info(louder.file).subtype == "FLOAT"


def test_sounds_that_no_wav_file_can_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penjing.data.shifts.media.LARGEST_WAV", 10_000)
    with pytest.raises(DataError, match="row 'long': the sound is too long to be written"):
        shifted_rows([Row("long", {}, "audio", sound(0))], file_inputs, 0, tmp_path)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 3000, 3), np.uint8)).save(stream, "png")
    (entry,) = shifted_rows([Row("wide", {}, "image", stream.getvalue())], file_inputs, 0, tmp_path).rows
    assert read_picture(entry.row.file).size == (1536, 20)  # type: ignore[arg-type]
    assert Image.open(entry.row.file).format == "PNG"  # type: ignore[arg-type]


def test_what_became_silent_constant_or_empty_is_left_out(tmp_path: Path) -> None:
    blank = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(blank, "png")
    rows = [Row(f"quiet-{n}", {}, "audio", sound(n, level=0.002)) for n in range(11)]  # -54 dBFS
    rows += [Row(f"blank-{n}", {}, "image", blank.getvalue() + bytes(n)) for n in range(8)]
    rows += [Row(f"signs-{n}", {"text": "?!"}) for n in range(3)]
    rows += [Row("silent", {}, "audio", sound(0, level=0.0))]
    shifted = shifted_rows(rows, lambda row: file_inputs(row) if row.media else text_inputs(row), 0, tmp_path)
    left_out = dict(shifted.left_out)
    assert {kind for row_id, kind in left_out.items() if row_id.startswith("quiet")} == {"gain_down"}
    assert {kind for row_id, kind in left_out.items() if row_id.startswith("signs")} == {"no_punctuation"}
    assert "silent" in left_out
    blanks = {kind for row_id, kind in left_out.items() if row_id.startswith("blank")}
    assert blanks == {"jpeg_20", "blur", "dark", "bright", "rotation_10"}
    assert not set(left_out) & set(kinds(shifted))
    assert len(left_out) + len(shifted.rows) == len(rows)
    assert all(Path(entry.row.file).is_file() for entry in shifted.rows if entry.row.media)  # type: ignore[arg-type]


def test_what_a_kind_does_not_change_is_named(tmp_path: Path) -> None:
    rows = [Row(f"row-{number}", {"text": f"第{number}句话没有标点"}) for number in range(30)]
    shifted = shifted_rows(rows, text_inputs, 0, tmp_path)
    assert Counter(kind for _, kind in shifted.unchanged) == {"upper_case": 10, "no_punctuation": 10}
    assert {row_id for row_id, _ in shifted.unchanged} <= set(kinds(shifted))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "nothing that the model reads"),
        ({"text": ("caption",)}, "has no text in 'caption'"),
        ({"image": ("file",)}, "has no image in 'file'"),
        ({"audio": ("spoken",)}, "has no audio in 'spoken'"),
    ],
)
def test_rows_without_their_inputs_are_refused(inputs: Any, message: str, tmp_path: Path) -> None:
    row = Row("first", {"text": "Here."}, "audio", sound(0))
    with pytest.raises(DataError, match=message) as caught:
        shifted_rows([row], lambda row: inputs, 0, tmp_path)
    assert "'first'" in caught.value.message
    assert caught.value.hint


def test_damaged_media_name_the_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 'bad': the sound is not a sound"):
        shifted_rows([Row("bad", {}, "audio", b"RIFF")], file_inputs, 0, tmp_path)


def test_the_built_in_sets_are_distorted_completely(tmp_path: Path) -> None:
    speech = load_dataset("speech")
    rows = [row for row in speech.rows if speech.parts[row.id] == "judge"]
    shifted = shifted_rows(rows, file_inputs, 0, tmp_path)
    assert (len(shifted.rows), shifted.left_out, shifted.unchanged) == (60, (), ())
    assert set(Counter(kinds(shifted).values()).values()) == {5, 6}
