"""Damaged requests over a socket: bodies, forms and heads; all are answered below 500 or closed, and soon."""

from __future__ import annotations

import base64
import io
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from fuzz_attempts import SEED
from fuzz_mutations import json_bytes, mutated_bytes
from http_server import Running, listening
from penjing.serve.limits import Limits
from penjing.serve.shelf import Goods, open_shelf

LONGEST_S = 10
COUNTS = {"bodies": 120, "forms": 60, "heads": 60}
BOUNDARY = "penjing"


@pytest.fixture(scope="module")
def running(seedling_artifact: Path) -> Iterator[Running]:
    """The tiny seedling over HTTP; what is sent in half is waited for a second."""
    limits = Limits(head_s=1, body_s=1)
    with listening(
        open_shelf(Goods([str(seedling_artifact)], engine="onnxruntime", threads=1), limits), limits
    ) as found:
        yield found


def picture() -> bytes:
    """A small PNG."""
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(content, "PNG")
    return content.getvalue()


def sound() -> bytes:
    """Half a second of noise as WAV."""
    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(0).normal(0, 0.1, 8000), 16000, format="WAV")
    return content.getvalue()


def uri(kind: str, content: bytes) -> str:
    """Content inside of a document."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def asked(model: str, shown: bytes, question: str = "how many red circles?") -> dict[str, Any]:
    """A question about a picture."""
    parts = [
        {"type": "image_url", "image_url": {"url": uri("image/png", shown)}},
        {"type": "text", "text": question},
    ]
    return {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 4, "temperature": 0}


def body(model: str, rng: random.Random) -> tuple[str, str, bytes]:
    """Path, type and content of a damaged document; at times the picture in it is what is damaged."""
    kind = rng.randrange(4)
    if kind == 0:
        return (
            "/v1/chat/completions",
            "application/json",
            json.dumps(asked(model, mutated_bytes(picture(), rng))).encode(),
        )
    path, document = rng.choice((
        ("/v1/chat/completions", asked(model, picture())),
        ("/v1/embeddings", {"model": model, "input": ["a red star", "two"], "encoding_format": "float"}),
        ("/v1/search", {"query": "a red star", "k": 3}),
    ))  # fmt: skip
    return path, "application/json", json_bytes(document, rng)


def form(model: str, rng: random.Random) -> tuple[str, str, bytes]:
    """Path, type and content of a form: the sound in it damaged, or the form."""
    heard = mutated_bytes(sound(), rng) if rng.random() < 0.5 else sound()
    fields = {"model": model, "response_format": rng.choice(("json", "text", "srt", "verbose_json", "x"))}
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]  # fmt: skip
    parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode())
    whole = b"".join(parts) + heard + f"\r\n--{BOUNDARY}--\r\n".encode()
    damaged = mutated_bytes(whole, rng) if rng.random() < 0.4 else whole
    return "/v1/audio/transcriptions", f"multipart/form-data; boundary={BOUNDARY}", damaged


def head_of(path: str, kind: str, length: int) -> bytes:
    """A head that is right."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", f"Content-Length: {length}",
             "Connection: close", "Accept: */*"]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def request(what: str, model: str, rng: random.Random) -> bytes:
    """A whole request with one thing damaged."""
    if what == "heads":
        content = json.dumps({"model": model, "input": "a red star"}).encode()
        return mutated_bytes(head_of("/v1/embeddings", "application/json", len(content)), rng) + content
    path, kind, content = (body if what == "bodies" else form)(model, rng)
    return head_of(path, kind, len(content)) + content


def answer(running: Running, sent: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    parts = []
    with socket.create_connection(("127.0.0.1", running.port), 60) as connection:
        try:
            connection.sendall(sent)
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionError:
            pass
    return b"".join(parts)


@pytest.mark.parametrize("what", COUNTS)
def test_damaged_requests(what: str, running: Running) -> None:
    model = running.get("/v1/models").json["data"][0]["id"]
    found: Counter[int] = Counter()
    for number in range(COUNTS[what]):
        label = f"{what}, mutation {number} of seed {SEED}"
        sent = request(what, model, random.Random(f"{SEED} {what} {number}"))
        start = time.process_time()
        text = answer(running, sent)
        assert time.process_time() - start < LONGEST_S, label  # the server works in this process
        head, _, content = text.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head else 0
        found[status] += 1
        assert status < 500, f"{label}: {content[:300]!r}"
        if status >= 400 and b"application/json" in head:
            assert json.loads(content)["error"]["message"], label
    assert running.get("/health").status == 200
    assert found[400] + found[422] > COUNTS[what] // 10, found
    assert found[200], found
