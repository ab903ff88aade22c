"""What requests decode to: letters, pixels, seconds of sound and values of JSON are counted before memory is taken."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from penjing.errors import DataError
from penjing.runtimes.transcription import Segment, Transcription
from penjing.serve.budget import Budget, Load
from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal
from tiny_colours import Colours
from tiny_runners import Slow

EMBED = {"model": "model", "input": "1 2 3"}


class Hears:
    """Writes down how long a sound is."""

    task = "speech-seq2seq"
    sampling_rate_hz = 16000
    tells_times = False

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.begun = threading.Event()

    def check_language(self, language):
        pass

    def transcribing(self, samples, language):
        self.begun.set()
        self.goes_on.wait(10)
        seconds = samples.size / 16000
        yield Transcription(f"{seconds:.0f}", None, seconds, (Segment(0, seconds, f"{seconds:.0f}"),))


def wav(seconds: float, rate_hz: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(int(seconds * rate_hz), 0.1), rate_hz, format="FLAC" if rate_hz > 999 else "WAV")
    return file.getvalue()


def sent(running, content: bytes):
    form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nmodel\r\n--B\r\n'
    form += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n--B--\r\n"
    return running.send("POST", "/v1/audio/transcriptions", form, Content_Type="multipart/form-data; boundary=B")


def uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def chat(running, *texts: str):
    messages = [
        {"role": "user" if place % 2 == 0 else "assistant", "content": text} for place, text in enumerate(texts)
    ]
    return running.post("/v1/chat/completions", {"model": "model", "messages": messages, "max_tokens": 1})


def test_a_conversation_has_so_many_letters(serving):
    runner = Slow(0.0)
    running = serving(runner, chat_letters=1000)
    assert chat(running, "a" * 1000).status == 200
    for texts in (["a" * 1001], ["a" * 400, "b" * 400, "c" * 400]):
        answer = chat(running, *texts)
        assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
        assert "1,000 are read at most" in answer.json["error"]["message"]
    assert runner.pieces == 1


def test_a_conversation_beyond_the_context_is_refused_before_it_waits(serving):
    runner = Slow(0.0)
    runner.context_tokens = 3
    runner.prompt_tokens = lambda messages: [0] * len(messages[0].text)
    running = serving(runner)
    answer = chat(running, "abc")
    assert (answer.status, answer.json["error"]["param"]) == (400, "messages")
    assert "reads 3 at most" in answer.json["error"]["message"]
    assert runner.pieces == 0


def test_fifteen_megabytes_of_text_are_refused_at_once(serving):
    running = serving(Slow(0.0))
    tracemalloc.start()
    assert chat(running, "a b " * 3_750_000).status == 413
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 150_000_000
    assert running.get("/health").status == 200


def test_texts_of_a_request_have_so_many_letters_together(serving):
    running = serving(Slow(0.0), request_letters=100)
    assert running.post("/v1/embeddings", {**EMBED, "input": ["a" * 50] * 2}).status == 200
    answer = running.post("/v1/embeddings", {**EMBED, "input": ["a" * 50] * 3})
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "body",
    [b"[" + b"[]," * 200_000 + b"[]]", b'{"input": [' + b"1," * 600_000 + b"1]}", b'{"a": ' + b'{"a":' * 300_000],
    ids=["lists", "numbers", "objects"],
)
def test_json_has_so_many_values(body, serving):
    running = serving(Slow(0.0))
    answer = running.post("/v1/embeddings", body)
    assert answer.status in (400, 413)
    assert running.post("/v1/embeddings", EMBED).status == 200


@pytest.mark.parametrize(
    "odd", [{"input": [[]] * 200_000}, {"input": [None] * 200_000}, {"input": [{}] * 200_000}, {"input": ["a", 1] * 99}]
)
def test_of_many_wrong_values_the_first_is_told(odd, serving):
    answer = serving(Slow(0.0)).post("/v1/embeddings", {**EMBED, **odd})
    assert answer.status == 400
    assert len(answer.body) < 1000


def test_a_few_kilobytes_are_not_half_an_hour(serving):
    running = serving(Hears())
    answer = sent(running, wav(1680, 1))
    assert answer.status == 400
    assert "1 samples a second" in answer.json["error"]["message"]
    assert sent(running, wav(2)).json["text"] == "2"


def test_sounds_of_all_requests_have_so_many_seconds_together(serving):
    runner = Hears()
    running = serving(runner, audio_s=60, held_audio_s=100)
    runner.goes_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sent, running, wav(59))
        assert runner.begun.wait(10)
        answer = sent(running, wav(59))
        assert (answer.status, answer.json["error"]["code"]) == (429, "queue_full")
        runner.goes_on.set()
        assert first.result(20).json["text"] == "59"
    assert sent(running, wav(59)).status == 200
    assert sent(running, wav(61)).status == 413


def narrow(width: int, height: int) -> str:
    """A grey PNG of black, whole and small."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes((1 + width) * height), 9)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    content += chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_a_narrow_picture_is_refused_before_its_rows_are_made(serving):
    running = serving(Colours())
    for shape in ((1, 39_000_000), (70_000, 1)):
        answer = running.post("/v1/embeddings", {**EMBED, "input": narrow(*shape)})
        assert (answer.status, answer.json["error"]["code"]) == (413, "too_large"), shape
        assert "a side of the picture" in answer.json["error"]["message"]
    assert running.post("/v1/embeddings", {**EMBED, "input": narrow(1, 65_000)}).status == 200


def test_pictures_of_a_request_have_so_many_pixels_together(serving):
    running = serving(Colours(), request_pixels=25_000, together=1)
    picture = uri(Image.new("RGB", (100, 100)))
    assert running.post("/v1/embeddings", {**EMBED, "input": [picture] * 2}).status == 200
    answer = running.post("/v1/embeddings", {**EMBED, "input": [picture] * 3})
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
    assert "25,000 pixels" in answer.json["error"]["message"]


def test_many_pictures_of_a_request_are_decoded_one_by_one(serving):
    running = serving(Colours(), held_pixels=12_000)
    picture = uri(Image.new("RGB", (100, 100)))
    assert running.post("/v1/embeddings", {**EMBED, "input": [picture] * 20}).status == 200
    assert running.post("/v1/embeddings", {**EMBED, "input": uri(Image.new("RGB", (121, 100)))}).status == 429


def test_what_is_held_is_given_back_and_what_was_taken_still_counts():
    budget = Budget(Limits(request_pixels=30, held_pixels=25))
    one, other = Load(budget), Load(budget)
    one.take("pixels", 20)
    with pytest.raises(Refusal) as refused:
        other.take("pixels", 10)
    assert refused.value.status == 429
    one.let_go()
    other.take("pixels", 10)
    one.take("pixels", 10)
    with pytest.raises(Refusal) as refused:
        one.take("pixels", 1)
    assert refused.value.status == 413
    other.let_go()
    one.let_go()
    assert budget.held["pixels"] == 0


def test_two_thousand_texts_go_through_in_turns_with_those_of_others(serving):
    runner = Slow(0.002)
    running = serving(runner)
    with ThreadPoolExecutor(1) as pool:
        many = pool.submit(running.post, "/v1/embeddings", {**EMBED, "input": ["x" * (1 + n % 9) for n in range(2048)]})
        while not runner.runs:
            pass
        alone = running.post("/v1/embeddings", EMBED)
        assert (alone.status, many.done()) == (200, False)
        document = many.result(60).json
    assert [one["embedding"][0] for one in document["data"]] == [1 + n % 9 for n in range(2048)]
    assert [one["index"] for one in document["data"]] == [*range(2048)]
    assert document["usage"] == {"prompt_tokens": 2048, "total_tokens": 2048}
    assert max(runner.runs) <= Limits().together


def test_token_ids_of_the_models_own(serving):
    class Reads(Slow):
        def read_tokens(self, token_ids):
            if any(token_id > 9 for token_id in token_ids):
                raise DataError("these token ids are none that this model's tokenizer gives")
            return "x" * len(token_ids)

    running = serving(Reads(0.0))
    for given, lengths in (([1, 2, 3], [3]), ([[1, 2], [3]], [2, 1])):
        document = running.post("/v1/embeddings", {**EMBED, "input": given}).json
        assert [one["embedding"][0] for one in document["data"]] == lengths
    for given in ([1, 10], [[]], [[1], []], [-1], [1.5], [True], [[1], "a"], [2**31]):
        answer = running.post("/v1/embeddings", {**EMBED, "input": given})
        assert (answer.status, answer.json["error"]["param"].partition(".")[0]) == (400, "input"), given
    refused = serving(Slow(0.0)).post("/v1/embeddings", {**EMBED, "input": [1, 2]})
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "wrong_task")
