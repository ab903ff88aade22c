"""What may come in: keys, sizes, forms; nothing of a request is ever a path."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from penjing.serve.desk import Desk
from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal
from penjing.serve.shelf import Shelf
from tiny_colours import Colours

EMBED = {"model": "model", "input": "1 2 3"}


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_a_key_is_asked_for_where_there_is_one(serving):
    running = serving(Colours(), key="secret")
    for given in (None, "Bearer wrong", "secre", "Bearer ", "secret", "Basic secret", "Bearersecret"):
        answer = running.post("/v1/embeddings", EMBED, **({"Authorization": given} if given else {}))
        assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert running.post("/v1/embeddings", EMBED, Authorization="Bearer secret").status == 200
    assert running.post("/v1/embeddings", EMBED, Authorization="bearer secret").status == 200
    assert running.get("/v1/models").status == 401
    assert running.get("/health").status == running.get("/").status == 200


def test_a_page_of_another_site_is_for_another_host(serving):
    running = serving(Colours(), hosts=("127.0.0.1", "[::1]"))
    assert running.post("/v1/embeddings", EMBED).status == 200
    assert running.get("/health", Host="[::1]:8000").status == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:127", ""):
        answer = running.get("/v1/models", Host=host)
        assert answer.status in (400, 403), host
        assert "model" not in answer.body.decode()


def test_what_is_too_large_is_refused_before_it_is_read(serving):
    running = serving(Colours(), body_bytes=2000)
    assert running.post("/v1/embeddings", b"x" * 3000).status == 413
    with socket.create_connection(("127.0.0.1", running.port), 10) as plain:
        plain.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        for _ in range(4):
            plain.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        plain.sendall(b"0\r\n\r\n")
        assert b" 413 " in plain.recv(4000)
    assert running.post("/v1/embeddings", EMBED).status == 200


def half(running, length: int) -> socket.socket:
    """A request whose body is announced and never all there."""
    plain = socket.create_connection(("127.0.0.1", running.port), 10)
    plain.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  + f"Content-Length: {length}\r\n\r\n".encode() + b"x" * (length - 1))  # fmt: skip
    return plain


def settled(running, status: int) -> int:
    """What a small request is answered, once it is so, or in the end."""
    deadline = time.perf_counter() + 10
    while (found := running.post("/v1/embeddings", EMBED).status) != status and time.perf_counter() < deadline:
        time.sleep(0.02)
    return found


def test_bodies_that_are_read_take_so_much_together(serving):
    running = serving(Colours(), body_bytes=50_000, held_bytes=80_000)
    slow = half(running, 50_000)
    whole = json.dumps({**EMBED, "user": "x" * 40_000}).encode()
    deadline = time.perf_counter() + 10
    while (answer := running.post("/v1/embeddings", whole)).status == 200 and time.perf_counter() < deadline:
        time.sleep(0.02)
    assert (answer.status, answer.json["error"]["code"]) == (429, "queue_full")
    assert running.post("/v1/embeddings", EMBED).status == 200  # there is room for a small one
    slow.close()
    deadline = time.perf_counter() + 10
    while running.post("/v1/embeddings", whole).status != 200:
        assert time.perf_counter() < deadline
        time.sleep(0.02)


def test_so_many_requests_are_read_at_a_time(serving):
    running = serving(Colours(), requests=2)
    slow = [half(running, 100) for _ in range(2)]
    assert settled(running, 429) == 429
    assert running.get("/health").status == 200
    slow[0].close()
    assert settled(running, 200) == 200
    slow[1].close()


BROKEN = [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": 3}', b'{"model": "model"}', b"[" * 50_000]
ODD = [{"encoding_format": "x"}, {"input": [1, 2]}, {"input": None}, {"dimensions": -1}]


@pytest.mark.parametrize("body", [*BROKEN, *(json.dumps({**EMBED, **odd}).encode() for odd in ODD)])
def test_json_that_is_none_or_not_what_is_asked(body, serving):
    running = serving(Colours())
    answer = running.post("/v1/embeddings", body)
    assert answer.status == 400
    assert answer.json["error"]["message"]
    assert running.post("/v1/embeddings", EMBED).status == 200


HALF = ["\ud800", "a\0b"]


@pytest.mark.parametrize("text", HALF, ids=["surrogate", "nothing"])
def test_texts_that_are_none_are_refused(text, serving, tmp_path):
    running = serving(Colours())
    for path, body in (
        ("/v1/embeddings", {**EMBED, "input": text}),
        ("/v1/embeddings", {**EMBED, "model": text}),
        ("/v1/chat/completions", {"model": "model", "messages": [{"role": "user", "content": text}]}),
        ("/v1/search", {"query": text}),
        ("/v1/search", {"query": "1 2 3", "path": text}),
        ("/v1/search", {"query": "1 2 3", "where": {text: "x"}}),
    ):
        answer = running.post(path, json.dumps(body).encode())
        assert answer.status == 400, path
        assert "a text with" in answer.json["error"]["message"]
    assert running.post("/v1/embeddings", {**EMBED, "input": "1 2 3 \U0001f333"}).status == 200  # a pair is a character


def test_numbers_and_fields_beyond_what_is_stored_are_refused(serving):
    running = serving(Colours())
    assert running.get(f"/v1/search/items/{10**30}").status == 400
    assert running.get("/v1/search/items/-1").status == 404
    body = {"query": "1 2 3", "where": {str(number): "x" for number in range(2000)}}
    assert running.post("/v1/search", body).status == 400


def test_no_more_is_read_at_a_time_than_may_wait():
    async def crowded() -> tuple[int, list[object]]:
        desk, goes_on = Desk(Shelf([]), Limits(waiting=2)), threading.Event()
        reads = [asyncio.create_task(desk.aside(goes_on.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await desk.aside(lambda: None)
        goes_on.set()
        read = [*await asyncio.gather(*reads), await desk.aside(lambda: "again")]
        desk.close()
        return refused.value.status, read

    assert asyncio.run(crowded()) == (429, [True, True, "again"])


def test_routes_that_are_none(serving):
    running = serving(Colours())
    for method, path, status in (
        ("GET", "/v1/nothing", 404), ("GET", "/page/../../../etc/passwd", 404), ("GET", "/page/%2e%2e/app.py", 404),
        ("DELETE", "/v1/models", 405), ("GET", "/v1/models/other", 404), ("GET", "/docs", 404),
    ):  # fmt: skip
        answer = running.send(method, path)
        assert (answer.status, [*answer.json]) == (status, ["error"]), path


def test_pictures_of_every_kind(serving):
    running = serving(Colours(), image_pixels=1_000_000)
    grey = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    fine = [
        encoded(Image.new("RGB", (1, 1), (9, 9, 9))), encoded(Image.new("CMYK", (8, 8)), "JPEG"), encoded(grey),
        encoded(Image.new("P", (8, 8)), "GIF", save_all=True, append_images=[Image.new("P", (8, 8), 3)]),
        encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 0))),
    ]  # fmt: skip
    for content in fine:
        assert running.post("/v1/embeddings", {**EMBED, "input": uri(content)}).status == 200
    whole = encoded(Image.effect_noise((64, 64), 50))
    for content, status in ((bomb(60_000, 60_000), 400), (bomb(2000, 2000), 413), (whole[: len(whole) // 2], 400),
                            (b"", 400), (b"<svg></svg>", 400)):  # fmt: skip
        assert running.post("/v1/embeddings", {**EMBED, "input": uri(content)}).status == status
    assert running.post("/v1/embeddings", EMBED).status == 200


def wav(samples: np.ndarray, rate_hz: int = 8000, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form)
    return file.getvalue()


def sent(running, name: str, content: bytes):
    part = b"--B\r\nContent-Disposition: form-data; name="
    form = part + b'"model"\r\n\r\n' + name.encode() + b"\r\n"
    form += part + b'"file"; filename="../../etc/passwd"\r\n\r\n' + content + b"\r\n--B--\r\n"
    return running.send("POST", "/v1/audio/transcriptions", form, Content_Type="multipart/form-data; boundary=B")


def test_sounds_of_every_kind(seedling_server, seedling_artifact):
    tone = np.sin(np.arange(8000) / 5) * 0.3
    name = seedling_artifact.name
    assert sent(seedling_server, name, wav(tone)).status == 200
    assert sent(seedling_server, name, wav(np.stack([tone, tone], 1), 44100)).status == 200
    cut = wav(tone)[:3000]
    for content in (
        b"",
        b"RIFF",
        cut[:20],
    ):
        answer = sent(seedling_server, name, content)
        assert answer.status == 400, content[:20]
        assert answer.json["error"]["message"]
    assert sent(seedling_server, name, cut).status in (200, 400)
    assert sent(seedling_server, name, wav(np.zeros(8000))).json["text"] == "", "nobody speaks in silence"
    noise = np.random.default_rng(0).normal(0, 2e-4, 8000 * 3600)
    assert sent(seedling_server, name, wav(500 * noise[: 8000 * 30])).status == 200  # longer than it hears at a time
    assert sent(seedling_server, name, wav(noise, form="FLAC")).status == 413  # an hour
    assert seedling_server.send("POST", "/v1/audio/transcriptions", b"x", Content_Type="text/plain").status == 400
    assert sent(seedling_server, name, wav(tone)).status == 200


def test_a_line_of_log_for_every_request_without_contents(serving, caplog):
    running = serving(Colours())
    with caplog.at_level(logging.INFO, "penjing.serve"):
        running.post("/v1/embeddings", {**EMBED, "input": "7 8 9 secret words"})
        running.get("/nothing")
        while "/nothing" not in caplog.text:  # written once the answer is out
            time.sleep(0.01)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "penjing.serve"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/v1/embeddings", 200), ("GET", "/nothing", 404),
    ]  # fmt: skip
    assert lines[0]["ms"] > 0
    assert "secret" not in caplog.text


def test_the_page_comes_from_here_alone(serving):
    running = serving(Colours())
    page = running.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("page.css", "page.js", "words.js", "recorder.js"):
        part = running.get(f"/page/{name}")
        assert part.status == 200
        assert b"http://" not in part.body
        assert b"https://" not in part.body
