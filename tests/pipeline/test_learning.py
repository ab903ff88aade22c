"""What a step that learns is given: rows with words, and none of those that it is stopped by."""

from __future__ import annotations

import json

import pytest
import soundfile

import penjing
from penjing.errors import DataError
from tiny_speech import RATE_HZ, save_sounds, sound


@pytest.fixture
def compress(whisper_folder, tmp_path):
    """Run steps on the tiny Whisper with rows to calibrate with; what was told is in the list that it is given."""

    def run(steps: list[dict], calibration: str, told: list[str]) -> dict:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(json.dumps({"version": 1, "steps": steps}), encoding="utf8")
        return penjing.compress(
            str(whisper_folder),
            tmp_path / "out",
            calibration=calibration,
            recipe=recipe,
            formats=["checkpoint"],
            goals=["size_bytes<=100%"],
            engine="torch",
            tell=lambda what, *_: told.append(what),
        )

    return run


def test_clips_without_words_are_refused_before_any_step(compress, tmp_path):
    clips, told = tmp_path / "clips", list[str]()
    clips.mkdir()
    for number in range(6):
        soundfile.write(clips / f"{number}.wav", sound(0.6, number), RATE_HZ)
    steps = [{"method": "width", "neurons": 0.5, "towers": ["encoder"]}, {"method": "distill", "steps": 1}]
    with pytest.raises(DataError, match=r"has no text, so .* would learn to say nothing"):
        compress(steps, str(clips), told)
    assert not any(what.startswith("width") for what in told)


def test_a_folder_that_also_calibrates_is_learned_from_without_the_rows_to_choose_by(compress, tmp_path):
    folder, told = save_sounds(tmp_path / "sounds", 8), list[str]()
    lines = (folder / "metadata.jsonl").read_text().replace('"part"', '"kind"')
    (folder / "metadata.jsonl").write_text(lines)
    compress([{"method": "distill", "steps": 1, "data": str(folder)}, {"method": "rtn"}], str(folder), told)
    (said,) = (what for what in told if "are kept to choose by" in what)
    assert said.startswith("distill: ")
    assert 1 <= int(said.split()[1]) < 8


def test_a_step_that_learns_takes_the_built_in_set_of_the_task_where_no_data_are_named(tmp_path):
    recipe, told = tmp_path / "recipe.yaml", list[str]()
    recipe.write_text("version: 1\nsteps: [{method: rtn}, {method: distill, steps: 2, batch: 4}]\n", encoding="utf8")
    penjing.compress("pictures-dual-encoder", tmp_path / "out", recipe=recipe, threads=1, quick=True,
                     goals=["recall_at_1>=-0.5"], tell=lambda what, *_: told.append(what))  # fmt: skip
    assert json.loads((tmp_path / "out" / "report.json").read_text())["data"]["name"] == "pictures"
    assert [what for what in told if "no data named" in what] == [
        "no data named: learns from and is judged by the built-in set pictures"
    ]
