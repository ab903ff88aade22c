"""Runners know a task: what they feed the graphs, and what they refuse. The graphs here are made up."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.runtimes.dual import DualRunner
from penjing.runtimes.embedding import ITEMS_PER_BATCH
from penjing.runtimes.speech import SpeechRunner
from penjing.runtimes.voice_activity import Span

pytestmark = pytest.mark.shop

WORDS = ["<end>", "<start>", "<en>", "<de>", "<say>", "<plain>", "red", "blue", "bus", "cat", "rain", "late"]
END, START, ENGLISH, GERMAN, SAY, PLAIN = range(6)
RATE_HZ = 16000


@pytest.fixture
def tokenizer_path(tmp_path: Path) -> Path:
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "<end>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(WORDS[:6])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def speech_settings(languages: dict[str, int]) -> dict:
    return {
        "audio": {"feature_size": 16, "sampling_rate": RATE_HZ, "hop_length": 160, "n_fft": 400},
        "generation": {
            "start": START,
            "eos": END,
            "no_timestamps": PLAIN,
            "languages": languages,
            "tasks": {"transcribe": SAY} if languages else {},
            "suppress": [START],
            "begin_suppress": [END],
            "max_tokens": 64,
        },
        "decoder": {"layers": 1, "heads": 1, "head_width": 2},
        "max_frames": 3000,
    }


class Ear:
    """An encoder that gives one state for two frames, and remembers how long it listened."""

    inputs, outputs = ("input_features",), ("present.0.encoder.key",)

    def __init__(self) -> None:
        self.frames: list[int] = []

    def __call__(self, arrays):
        batch, bands, frames = arrays["input_features"].shape
        assert (batch, bands) == (1, 16)
        self.frames.append(frames)
        return {"present.0.encoder.key": np.zeros((1, 1, frames // 2, 2), np.float32)}


class Mouth:
    """A decoder that says given words, in circles where it heard less than the whole window, if it is told so."""

    def __init__(self, words: list[int], circles: list[int] | None = None, language: int = GERMAN) -> None:
        self.words, self.circles, self.language = words, circles, language
        self.prompts: list[list[int]] = []
        self.places = 0
        self.rewind()

    def start(self, heard):
        self.places = heard["present.0.encoder.key"].shape[2]
        self.rewind()

    def rewind(self):
        self.said = -1
        self.prompt = []

    def read(self, tokens):
        return np.stack([self._after(token) for token in tokens])

    def step(self, tokens):
        return self.read(tokens)[-1]

    def _after(self, token):
        logits = np.zeros(len(WORDS), np.float32)
        if self.said < 0:
            self.prompt.append(token)
        if token == START:  # says the language
            logits[self.language] = 9
        if token == PLAIN:  # the end of a prompt
            self.prompts.append(self.prompt)
        if token == PLAIN or self.said >= 0:
            self.said += 1
            words = self.circles if self.circles and self.places < 1500 else [*self.words, END]
            logits[words[self.said % len(words)]] = 9
        return logits


def speaker(mouth: Mouth, tokenizer_path: Path, languages: dict[str, int] | None = None) -> tuple[SpeechRunner, Ear]:
    known = {"en": ENGLISH, "de": GERMAN} if languages is None else languages
    ear = Ear()
    runner = SpeechRunner(ear, mouth, speech_settings(known), tokenizer_path)
    runner.voice_spans = lambda samples: [Span(0.0, len(samples) / RATE_HZ)]  # what hums here speaks
    return runner, ear


def hum(seconds: float) -> np.ndarray:
    return np.sin(np.arange(int(seconds * RATE_HZ)) / 20).astype(np.float32)


def test_a_clip_is_heard_at_the_length_it_needs(tokenizer_path):
    runner, ear = speaker(Mouth([6, 8]), tokenizer_path)
    heard = runner.hear(hum(2.5), "en")
    assert (heard.text, heard.tokens, heard.language) == ("red bus", (6, 8), "en")
    assert ear.frames[0] == 400  # 2.5 s and a second of margin, in a bucket of 4 s; never 30 s
    assert runner.longest_s == 30.0


@pytest.mark.parametrize(("language", "token"), [("en", ENGLISH), ("de", GERMAN)])
def test_the_prompt_says_the_language(language, token, tokenizer_path):
    mouth = Mouth([6])
    runner, _ = speaker(mouth, tokenizer_path)
    assert runner.transcribe(hum(1), language).language == language
    assert mouth.prompts == [[START, token, SAY, PLAIN]]
    assert runner.languages == ["en", "de"]


@pytest.mark.parametrize(("token", "language"), [(ENGLISH, "en"), (GERMAN, "de")])
def test_a_language_that_is_not_given_is_guessed(token, language, tokenizer_path):
    mouth = Mouth([6], language=token)
    runner, _ = speaker(mouth, tokenizer_path)
    assert runner.transcribe(hum(1)).language == language
    assert mouth.prompts == [[START, token, SAY, PLAIN]]


def test_a_model_of_one_language_is_not_asked(tokenizer_path):
    mouth = Mouth([6])
    runner, _ = speaker(mouth, tokenizer_path, {})
    assert runner.transcribe(hum(1)).language is None
    assert mouth.prompts == [[START, PLAIN]]


def test_a_language_it_does_not_know(tokenizer_path):
    runner, _ = speaker(Mouth([6]), tokenizer_path)
    with pytest.raises(DataError, match="does not know the language 'dee'") as caught:
        runner.transcribe(hum(1), "dee")
    assert caught.value.hint == "did you mean 'de'?"


def test_going_in_circles_it_listens_again_to_the_whole_window(tokenizer_path):
    runner, ear = speaker(Mouth([7, 9], circles=[6, 7, 8, 9]), tokenizer_path)
    heard = runner.transcribe(hum(3), "en")
    assert heard.text == "blue cat"
    assert ear.frames[0] == 400
    assert ear.frames[-1] == 3000


def test_nobody_speaks_that_fast(tokenizer_path):
    """A decoder that never ends and never repeats is stopped: at 24 tokens for a short clip, 28 by the model's half."""
    runner, _ = speaker(Mouth([6, 7, 8, 9, 10, 11, 6, 8, 10, 7, 9, 11, 6, 9] * 9), tokenizer_path)
    assert len(runner.hear(hum(0.5), "en").tokens) == 24
    assert len(runner.hear(hum(20), "en").tokens) == 64 // 2 - 4


def test_warming_up_runs_the_lengths_that_are_needed(tokenizer_path):
    runner, ear = speaker(Mouth([6]), tokenizer_path)
    assert runner.warm_up([2.0, 2.5, 8.5]) >= 0
    assert {400, 1000} <= set(ear.frames)
    everything, ear = speaker(Mouth([6]), tokenizer_path)
    everything.warm_up()
    assert {400, 600, 800, 1000, 1200, 1500, 1800, 2200, 2600, 3000} <= set(ear.frames)


class Side:
    """A side of a dual encoder that answers with numbers from 1 upwards for every item."""

    inputs = ("pixel_values",)

    def __init__(self, output: str) -> None:
        self.outputs = (output,)
        self.asked: list[dict[str, tuple[int, ...]]] = []

    def __call__(self, arrays):
        self.asked.append({name: array.shape for name, array in arrays.items()})
        items = len(next(iter(arrays.values())))
        return {self.outputs[0]: np.arange(1, 1 + items * 4, dtype=np.float32).reshape(items, 4)}


@pytest.fixture
def sides() -> dict[str, Side]:
    return {"image": Side("image_embeds"), "text": Side("text_embeds")}


@pytest.fixture
def viewer(sides, tokenizer_path) -> DualRunner:
    half = [0.5, 0.5, 0.5]
    image = {"resize": {"width": 8, "height": 8}, "resample": "bicubic", "crop": None, "scale": 1 / 255}
    text = {
        "inputs": ["input_ids", "attention_mask"],
        "max_length": 5,
        "padding": "longest",
        "pad_id": 0,
        "pad_token": "<end>",
        "pad_side": "right",
        "lower": False,
    }
    return DualRunner(sides, {"image": {**image, "mean": half, "std": half}, "text": text}, tokenizer_path)


def test_embeddings_are_unit_vectors(viewer, sides, tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (20, 10), "red").save(red)
    pictures = viewer.embed_images([red, Image.new("RGB", (5, 5)), red.read_bytes()])
    texts = viewer.embed_texts(["red bus", "a red bus late in rain and more"])
    assert pictures.shape == (3, 4)
    for found in (pictures, texts):
        assert np.allclose(np.linalg.norm(found, axis=1), 1)
        assert np.allclose(found[0], np.array([1, 2, 3, 4]) / np.sqrt(30))
    assert sides["image"].asked == [{"pixel_values": (3, 3, 8, 8)}]
    assert sides["text"].asked == [{"input_ids": (2, 5), "attention_mask": (2, 5)}]


def test_many_items_run_in_batches_and_few_are_in_memory(viewer, sides, monkeypatch):
    pictures = [Image.new("RGB", (5, 5), (shade, 0, 0)) for shade in range(100)]
    texts = [f"red bus {number}" for number in range(100)]
    waiting, most, sizes = 0, 0, {"image": [], "text": []}
    read = viewer.read

    def counted_read(item, modality):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return read(item, modality)

    def counted_run(side):
        def run(arrays):
            nonlocal waiting
            sizes[side].append(len(next(iter(arrays.values()))))
            waiting -= sizes[side][-1]
            sums = next(iter(arrays.values())).reshape(sizes[side][-1], -1).sum(1)
            return {f"{side}_embeds": np.stack([np.ones_like(sums), sums], 1).astype(np.float32)}

        return run

    monkeypatch.setattr(viewer, "read", counted_read)
    monkeypatch.setattr(viewer, "_graphs", {side: counted_run(side) for side in sizes})
    vectors = viewer.embed_images(pictures)
    assert (np.diff(vectors[:, 1] / vectors[:, 0]) > 0).all()  # each is brighter than the one before
    rows = [Row(str(number), {}, "image", _png(picture)) for number, picture in enumerate(pictures)]
    np.testing.assert_array_equal(viewer.embed_rows(rows), vectors)
    viewer.embed_texts(texts)
    np.testing.assert_array_equal(
        viewer.embed_read([read(text, "text") for text in texts], "text"), viewer.embed_texts(texts)
    )
    assert max(sizes["image"] + sizes["text"]) <= ITEMS_PER_BATCH
    assert sum(sizes["image"]) == 200
    assert sum(sizes["text"]) == 300
    assert most <= ITEMS_PER_BATCH


def _png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_embed_tells_texts_from_files(viewer, sides, tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (20, 10), "red").save(red)
    assert viewer.embed([red, Image.new("RGB", (5, 5))]).shape == (2, 4)
    assert viewer.embed([str(red)], "image").shape == (1, 4)
    assert len(sides["image"].asked) == 2
    assert viewer.embed(["red bus", str(red)]).shape == (2, 4)
    assert len(sides["text"].asked) == 1
    with pytest.raises(DataError, match="texts and files in one list"):
        viewer.embed(["red bus", red])
    with pytest.raises(DataError, match="no modality called 'images'") as caught:
        viewer.embed([red], "images")
    assert caught.value.hint == "did you mean 'image'?"


@pytest.mark.parametrize("verb", ["embed", "embed_texts", "embed_images"])
def test_nothing_or_a_bare_string_is_no_list(verb, viewer):
    with pytest.raises(DataError, match=r"no (items|texts|images) to embed"):
        getattr(viewer, verb)([])
    for one in ("red bus", Path("red.png"), Image.new("RGB", (5, 5)), None):
        with pytest.raises(DataError, match="takes a list"):
            getattr(viewer, verb)(one)


@pytest.mark.parametrize("items", [[None], [1], [np.zeros((5, 5, 3))], [Path("a.png"), None]])
def test_what_is_no_picture_and_no_text(items, viewer):
    with pytest.raises(DataError, match="is no picture"):
        viewer.embed(items)
    with pytest.raises(DataError, match="is no text"):
        viewer.embed(items, "text")


def test_long_sound_is_heard_in_windows(tokenizer_path):
    runner, _ = speaker(Mouth([6, 8]), tokenizer_path)
    found = runner.transcribe(hum(70), "en")
    assert found.text == " ".join(["red bus"] * len(found.segments))
    assert (found.language, found.audio_seconds) == ("en", 70.0)
    assert found.segments[0].start_s == 0.0
    assert [part.end_s for part in found.segments[:-1]] == [part.start_s for part in found.segments[1:]]
    assert len(found.segments) >= 3


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.zeros(0, np.float32), "has no samples"),
        (np.zeros((2, 9)), "one row of floats"),
        (np.zeros(9, np.int16), "one row of floats, not int16"),
        (np.array([np.nan]), "not finite"),
        (np.array([1e300]), "not finite"),
        ([0.0, 0.1], "list is no sound"),
        (None, "NoneType is no sound"),
    ],
)
def test_what_is_no_sound(sound, reason, tokenizer_path):
    runner, _ = speaker(Mouth([6]), tokenizer_path)
    with pytest.raises(DataError, match=reason):
        runner.transcribe(sound)


@pytest.mark.parametrize(("languages", "asked"), [({"en": ENGLISH, "de": GERMAN}, "fr"), ({}, "de")])
def test_a_language_is_checked_before_anything_is_heard(languages, asked, tokenizer_path):
    runner, ear = speaker(Mouth([6]), tokenizer_path, languages)
    with pytest.raises(DataError, match=f"does not know the language '{asked}'"):
        runner.transcribe(hum(1), asked)
    assert ear.frames == []


def test_an_embedding_of_nothing_is_no_division_by_zero(viewer, sides, monkeypatch):
    monkeypatch.setattr(Side, "__call__", lambda side, arrays: {side.outputs[0]: np.zeros((1, 4), np.float32)})
    assert viewer.embed_texts(["red"]).tolist() == [[0, 0, 0, 0]]


def test_what_sees_does_not_hear(viewer):
    with pytest.raises(DataError, match="sees, it does not hear"):
        viewer.embed_sounds([np.zeros(10, np.float32)])
    with pytest.raises(DataError, match="row 'one' has no image"):
        viewer.embed_rows([Row("one", {"text": "red"})])
