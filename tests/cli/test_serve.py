"""`penjing serve` as a process: it says where it is, answers, asks for its key, and ends when told to."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penjing.apps.confidence import builtin_folder


@contextmanager
def served(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "penjing", "serve", *map(str, arguments), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    try:
        said = ""
        while "http://" not in said:
            said = process.stderr.readline()
            assert said, "it ended"
        yield process, re.findall(r"http://\S+", said)[0]
    finally:
        process.kill()
        process.wait()


def get(address: str, key: str = "") -> tuple[int, dict]:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_server_from_beginning_to_end(encoder_artifact):
    knowledge = builtin_folder() / "knowledge"
    with served(encoder_artifact, "--knowledge", knowledge, PENJING_API_KEY="secret") as (process, address):
        assert get(f"{address}/health")[1]["status"] == "ok"
        assert get(f"{address}/v1/models")[0] == 401
        names = [model["id"] for model in get(f"{address}/v1/models", "secret")[1]["data"]]
        assert names == [Path(encoder_artifact).name, "assistant"]
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"this is no HTTP\r\n\r\n")
            assert b"400" in plain.recv(1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert [line["status"] for line in lines if "status" in line] == [200, 401, 200]
        assert [(line["level"], line["logger"]) for line in lines if "level" in line] == [("WARNING", "uvicorn.error")]


def test_mistakes_before_anything_is_served(penjing, encoder_artifact, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, said in (
            ([], "nothing to serve"),
            ([tmp_path], "penjing.json"),
            (["nowhere"], "is not a folder"),
            ([encoder_artifact, "--index", tmp_path], "is no index"),
            ([encoder_artifact, "--knowledge", tmp_path], "nothing to know"),
            ([encoder_artifact, encoder_artifact], "two artifacts are called"),
            ([encoder_artifact, "--port", port], "cannot listen"),
            ([encoder_artifact, "--host", "nowhere.invalid"], "cannot listen"),
        ):
            found = penjing("serve", *arguments, *([] if "--port" in arguments else ["--port", "0"]), as_json=False)
            assert found.code == 2, arguments
            assert said in found.err, found.err


@pytest.mark.parametrize("asked", ["what are your shipping costs", "who won the cup in 1974"])
def test_the_desk_on_the_command_line(asked, penjing):
    found = penjing("assist", builtin_folder() / "knowledge", asked)
    (reply,) = found.json["replies"]
    assert reply["handed_over"] is ("cup" in asked)
    shown = penjing("assist", builtin_folder() / "knowledge", asked, as_json=False)
    assert shown.out.startswith(reply["text"])
    assert ("[1] shipping.md#Shipping costs" in shown.out) is not reply["handed_over"]
    assert reply["note"] == ""


def test_lines_that_cannot_be_asked_lose_none_of_the_others(penjing, monkeypatch):
    lines = "what are your shipping costs\n\nnofile.wav\nwho won the cup in 1974\n"
    for as_json in (True, False):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        found = penjing("assist", builtin_folder() / "knowledge", as_json=as_json)
        assert found.code == 2
        assert "nofile.wav is not a file" in found.err
        assert "1 of the questions could not be asked" in found.err
        if as_json:
            told = found.json["replies"]
            assert [reply.get("handed_over") for reply in told] == [False, None, True]
            assert told[1] == {"asked": "nofile.wav", "error": "nofile.wav is not a file"}


def test_the_passages_found_are_shown_in_a_line_each(penjing, monkeypatch):
    for columns in (70, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown = penjing("assist", builtin_folder() / "knowledge", "what are your shipping costs", as_json=False)
        first, *others = [line for line in shown.out.splitlines() if line.startswith("  [")]
        name = "  [1] shipping.md#Shipping costs: "
        assert first.startswith(name)
        passage = penjing("assist", builtin_folder() / "knowledge", "what are your shipping costs").json["replies"][0]
        assert " ".join(passage["sources"][0]["text"].split()).startswith(first.removeprefix(name).rstrip("…"))
        assert others == []  # the answer is quoted from one passage
        assert max(map(len, [first, *others])) <= columns
    monkeypatch.setenv("COLUMNS", "30")
    shown = penjing("assist", builtin_folder() / "knowledge", "what are your shipping costs", as_json=False)
    assert "  [1] shipping.md#Shipping costs" in shown.out.splitlines()  # a name is whole, or it is none


def test_mistakes_at_the_desk(penjing, speech_artifact, tmp_path):
    knowledge = builtin_folder() / "knowledge"
    for arguments, said in (
        (["nowhere", "x"], "is not a folder"),
        ([tmp_path, "x"], "nothing to know"),
        ([knowledge, ""], "nothing was asked"),
        ([knowledge, "gone.wav"], "is not a file"),
        ([knowledge, "x", "--embeds", speech_artifact], "the model that embeds"),
        ([knowledge, "x", "--writes", speech_artifact], "the model that writes"),
    ):
        message, _ = penjing("assist", *arguments).check_refused()
        assert said in message
