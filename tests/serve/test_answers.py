"""Answers as they are told: how they ended, what a desk says beside them, what is refused; none holds up others."""

from __future__ import annotations

import base64
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from PIL import Image

from penjing.apps.assistant import Tools, open_desk
from penjing.apps.confidence import builtin_folder
from penjing.serve.assistant import EXCERPT, DeskRunner
from tiny_colours import Colours, paint
from tiny_runners import Answerer, Captioner


def uri(colour: tuple[int, int, int] = (200, 30, 30)) -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def shown(text: str = "", colour: tuple[int, int, int] = (200, 30, 30)) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": uri(colour)}}, {"type": "text", "text": text}]
    return {"role": "user", "content": parts}


def chat(running, *messages: Any, **more: Any):
    return running.post("/v1/chat/completions", {"model": "model", "messages": messages, **more})


def events(answer) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.body.decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("more", "text", "reason"),
    [
        ({}, "one two three four five six", "stop"),
        ({"max_tokens": 6}, "one two three four five six", "stop"),
        ({"max_tokens": 5}, "one two three four five", "length"),
        ({"max_tokens": 4, "stop": " four"}, "one two three", "stop"),
        ({"max_tokens": 3, "stop": " four"}, "one two three", "length"),
    ],
)
def test_an_answer_about_a_picture_says_whether_it_was_cut(more, text, reason, serving):
    running = serving(Answerer())
    (choice,) = chat(running, shown("how many?"), **more).json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)
    told = events(chat(running, shown("how many?"), stream=True, **more))
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in told) == text
    assert [one["choices"][0]["finish_reason"] for one in told][-1] == reason


def test_who_answers_questions_alone_is_asked_one(serving):
    running = serving(Answerer())
    for text in ("", "  "):
        answer = chat(running, shown(text))
        assert (answer.status, answer.json["error"]["param"]) == (400, "messages")
        assert answer.json["error"]["message"] == "model writes no captions: ask about the picture"
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    spoken = chat(running, {"role": "user", "content": [shown()["content"][0], sound]})
    assert (spoken.status, spoken.json["error"]["code"]) == (400, "wrong_task")
    assert chat(running, shown("what?")).status == 200
    assert chat(serving(Captioner()), shown()).json["choices"][0]["message"]["content"].startswith("one")


def test_texts_are_read_while_others_are_served(serving):
    reading, goes_on = threading.Event(), threading.Event()

    class Reads(Colours):
        def read(self, item, modality):
            reading.set()
            return super().read(item, modality) if goes_on.wait(10) else (0,)

    running = serving(Reads())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.post, "/v1/embeddings", {"model": "model", "input": ["1 2 3"] * 3})
        assert reading.wait(10)
        assert running.get("/health").status == 200
        goes_on.set()
        assert asked.result().json["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


@pytest.fixture
def support(serving):
    return serving(DeskRunner(open_desk(builtin_folder() / "knowledge", Tools())))


def test_a_desk_says_what_it_found_and_how_sure_it_is(support):
    api = openai.OpenAI(base_url=f"{support.url}/v1", api_key="none", max_retries=0)
    asked = [{"role": "user", "content": "what are your shipping costs"}]
    found = api.chat.completions.create(model="model", messages=asked)
    about = found.model_extra["penjing"]
    assert (about["handed_over"], about["quoted"], about["note"]) == (False, True, "")
    assert about["heard"] == "what are your shipping costs"
    assert 0.5 < about["confidence"] <= 1
    scores = [one["score"] for one in about["sources"]]
    assert scores == sorted(scores, reverse=True)
    best = about["sources"][0]
    assert (best["id"], best["title"]) == ("shipping.md#Shipping costs", "Shipping costs")
    assert best["text"]
    assert "\n" not in best["text"]
    assert len(best["text"]) <= EXCERPT
    pieces = [*api.chat.completions.create(model="model", messages=asked, stream=True)]
    assert pieces[-1].model_extra["penjing"] == about
    assert "penjing" not in pieces[0].model_extra
    unknown = api.chat.completions.create(model="model", messages=[{"role": "user", "content": "who won in 1974"}])
    assert unknown.model_extra["penjing"]["handed_over"] is True


def test_a_desk_looks_at_what_the_last_message_shows(serving, tmp_path):
    folder = tmp_path / "k"
    folder.mkdir()
    paint(folder, "red.png", (200, 30, 30))
    paint(folder, "blue.png", (30, 40, 200))
    (folder / "a.md").write_text(
        "# Red pot\n\n![pot](red.png)\nIt costs 12 euros.\n\n# Blue pot\n\n![pot](blue.png)\nIt costs 15 euros.\n"
    )
    running = serving(DeskRunner(open_desk(folder, Tools(sees=Colours()))))
    before = [shown("", (200, 30, 30)), {"role": "assistant", "content": "It costs 12 euros."}]

    def heard(*messages: Any) -> str:
        return chat(running, *messages).json["penjing"]["heard"]

    assert heard(before[0]) == "Red pot"
    assert heard(*before, shown("and this?", (30, 40, 200))) == "and this? Blue pot"
    assert heard(*before, {"role": "user", "content": "thank you"}) == "thank you"
    twice = {"role": "user", "content": [*shown()["content"], *shown()["content"]]}
    assert chat(running, twice).status == 400
