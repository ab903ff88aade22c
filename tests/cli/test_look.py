"""penjing ask, caption and transcribe on an artifact of many modalities; and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from penjing.scenes.scene import draw, imagine

RATE_HZ = 16000


@pytest.fixture
def picture(tmp_path):
    draw(imagine(1)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.fixture
def voice(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ)
    soundfile.write(tmp_path / "question.wav", noise, RATE_HZ)
    return tmp_path / "question.wav"


def test_ask_typed_and_spoken(seedling_artifact, picture, voice, penjing):
    found = penjing("ask", seedling_artifact, picture, "how many red circles?").json
    assert list(found) == ["file", "text", "seconds", "question"]
    assert (found["file"], found["question"]) == (str(picture), "how many red circles?")
    assert (
        penjing("ask", seedling_artifact, "how many red circles?", picture, as_json=False).out == f"{found['text']}\n"
    )
    spoken = penjing("ask", seedling_artifact, picture, voice).json
    assert spoken["question"] == str(voice)


def test_caption(seedling_artifact, picture, penjing):
    found = penjing("caption", seedling_artifact, picture, picture).json
    assert list(found) == ["results"]
    assert [list(one) for one in found["results"]] == [["file", "text", "seconds"]] * 2
    text = found["results"][0]["text"]
    assert penjing("caption", seedling_artifact, picture, as_json=False).out == f"{text}\n"
    assert penjing("caption", seedling_artifact, picture, picture, as_json=False).out == 2 * f"{picture}: {text}\n"


def test_answers_in_a_style(seedling_artifact, picture, penjing):
    plain = penjing("ask", seedling_artifact, picture, "how many red circles?").json["text"]
    one = penjing("ask", seedling_artifact, picture, "how many red circles?", "--max-tokens", "1").json["text"]
    assert plain.startswith(one)
    assert len(one) < len(plain)
    drawn = [
        penjing("caption", seedling_artifact, picture, "--temperature", "50", "--seed", seed).json["results"][0]["text"]
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    ended = penjing("caption", seedling_artifact, picture, "--stop", plain[2:4], "--stop", "e").json["results"]
    assert "e" not in ended[0]["text"]
    assert "draws nothing" in penjing("ask", seedling_artifact, picture, "how many?", "--temperature", "-1").err


def test_words_that_end_like_a_file_are_a_question(seedling_artifact, picture, penjing):
    asked = f"how many red circles are in {picture.name}"
    assert penjing("ask", seedling_artifact, picture, asked).json["question"] == asked


def test_one_bad_sound_among_others(seedling_artifact, voice, tmp_path, penjing):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    (tmp_path / "words.wav").write_text("no sound")
    found = penjing("transcribe", seedling_artifact, tmp_path, "--format", "srt", "-o", tmp_path / "out", as_json=False)
    assert found.code == 2
    assert "error: 1 of the sounds were left out" in found.err
    assert "words.wav is not a sound" in found.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["question.srt", "silent.srt"]
    assert (tmp_path / "out" / "silent.srt").read_text() == "", "nobody speaks in silence"
    told = penjing("transcribe", seedling_artifact, tmp_path, "--workers", "2")
    assert told.code == 2
    assert {Path(one["file"]).name: bool(one["segments"]) for one in told.json["results"]}["silent.wav"] is False
    assert {Path(one["file"]).name for one in told.json["left_out"]} == {"words.wav"}


def test_transcribe(seedling_artifact, voice, penjing):
    (found,) = penjing("transcribe", seedling_artifact, voice).json["results"]
    assert found["audio_seconds"] == 1.0
    assert found["language"] is None
    assert penjing("transcribe", seedling_artifact, voice, voice, as_json=False).code == 0


REFUSED = {
    "no picture": (["how many red circles?"], "ask needs a picture"),
    "nothing": ([], "ask needs a picture"),
    "no question": (["scene.png"], "ask needs a question"),
    "a question without quotes": (["scene.png", "how", "many"], "one picture and one question"),
    "a picture that is missing": (["gone.png", "how many"], "gone.png is not a file"),
    "a sound that is missing": (["scene.png", "gone.wav"], "gone.wav is not a file"),
    "a picture that is none": (["words.png", "how many"], "words.png"),
    "a sound that is none": (["scene.png", "words.wav"], "is not a sound that can be read"),
    "silence": (["scene.png", "silence.wav"], "silent"),
    "too long": (["scene.png", "long.wav"], "13.0 s; this model hears 12 s"),
    "no known word": (["scene.png", "wieviele kreise"], "knows no word of 'wieviele kreise'"),
    "an empty question": (["scene.png", " "], "an empty text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ask_refuses(case, seedling_artifact, picture, tmp_path, penjing, untouched, monkeypatch):
    given, message = REFUSED[case]
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "words.wav").write_text("no sound")
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write(tmp_path / "long.wav", np.full(13 * RATE_HZ, 0.1), RATE_HZ)
    monkeypatch.chdir(tmp_path)
    untouched()
    said, _ = penjing("ask", seedling_artifact, *given).check_refused()
    assert message in said
    untouched()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_mode_and_size(mode, seedling_artifact, tmp_path, penjing):
    name = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    draw(imagine(2)).resize((130, 47)).convert(mode).save(name)
    assert penjing("caption", seedling_artifact, name).code == 0


def test_an_artifact_of_another_task(picture_artifact, picture, voice, penjing):
    assert (
        "does dual-encoder, it does not answer" in penjing("ask", picture_artifact, picture, "what").check_refused()[0]
    )
    assert "does not write captions" in penjing("caption", picture_artifact, picture).check_refused()[0]
    assert "not speech recognition" in penjing("transcribe", picture_artifact, voice).check_refused()[0]


def test_what_is_no_artifact(tmp_path, picture, penjing):
    message, hint = penjing("caption", tmp_path, picture).check_refused()
    assert message == f"{tmp_path} has no penjing.json"
    assert hint == "give the folder that `penjing compress` wrote"
