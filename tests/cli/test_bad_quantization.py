"""Recipes that no engine could run, calibration data that teach nothing: refused in one line, nothing left."""

from __future__ import annotations

import json

import pytest

STEPS = {
    "bits": ("{method: gptq, bits: 5, towers: [decoder]}", "method 'gptq': bits: input should be 8, 4, 3 or 2"),
    "group": ("{method: awq, group: 48, towers: [decoder]}", "method 'awq': group: input should be 0, 32, 64 or 128"),
    "damping": ("{method: gptq, damping: 0}", "method 'gptq': damping: input should be greater than 0"),
    "pair": (
        "{method: gptq, bits: 4, towers: [decoder]}, {method: static_int8, towers: [decoder]}",
        "4-bit codes cannot meet int8 activations",
    ),
}


@pytest.fixture
def refused(penjing, tmp_path, language_folder):
    """Compress the tiny language model with these steps and options; the message of the refusal."""

    def run(steps: str, *options: str) -> str:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"version: 1\nsteps: [{steps}]\n")
        out = tmp_path / "out"
        done = penjing("compress", str(language_folder), "-o", str(out), "--recipe", str(recipe), *options)
        message, hint = done.check_refused()
        assert hint
        assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]
        return message

    return run


@pytest.mark.parametrize("case", STEPS)
def test_what_no_engine_runs_is_refused_before_any_work(case, refused):
    steps, message = STEPS[case]
    assert message in refused(steps)


def test_statistics_of_nothing(refused):
    assert "gptq needs calibration data" in refused("{method: gptq, group: 32}")


def test_data_of_another_modality(refused, picture_folder, sound_folder, tmp_path_factory):
    silent = tmp_path_factory.mktemp("data") / "silent.jsonl"
    silent.write_text("".join(json.dumps({"question": f"which {n}?", "answer": "none"}) + "\n" for n in range(20)))
    assert "has no text" in refused("{method: gptq, group: 32}", "--calibration", str(silent))
    assert "has no 'text'" in refused("{method: gptq, group: 32}", "--data", str(silent))


def test_a_width_that_no_group_divides_is_padded_and_runs(penjing, tmp_path, language_folder, texts_file):
    """128 and 64 inputs in groups of 128: the narrow ones are left, each with its reason."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: gptq, group: 128}]\ngoals: ['perplexity<=+50%']\n")
    out = tmp_path / "out"
    done = penjing(
        "compress", str(language_folder), "-o", str(out), "--recipe", str(recipe), "--data", str(texts_file), "--json"
    )
    assert done.code == 0, done.err
    rows = {row["site"]: row for row in done.json["coverage"]}
    assert rows["model.layers.0.mlp.down_proj"]["bits"] < 5
    assert "fewer than one group of 128" in rows["model.layers.0.mlp.up_proj"]["skipped"]
    report = json.loads((out / "report.json").read_text())
    assert report["steps_took"]["seconds"] > 0
    assert report["steps_took"]["peak_rss_bytes"] > 1e8
    assert report["steps_took"]["expected_peak_rss_bytes"] > 1e8
