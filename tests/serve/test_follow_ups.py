"""Further questions about a picture: what is taken for one, and what is refused."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest

from penjing.data.chat import Message
from penjing.serve.chat import heard_in, said_before
from penjing.serve.refusals import Refusal
from penjing.serve.wire import Said

pytestmark = pytest.mark.shop

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"x").decode()}}


def message(role: str, text: str, *, shown: bool = False) -> Said:
    parts: list[Any] = [{"type": "text", "text": text}, *([PICTURE] if shown else [])]
    return Said.model_validate({"role": role, "content": parts})


def before(*messages: Said, takes_turns: bool = True) -> list[Message]:
    served: Any = SimpleNamespace(runner=SimpleNamespace(takes_turns=takes_turns))
    return said_before(served, heard_in([*messages]))


FIRST, ANSWER, NEXT = message("user", "how many?", shown=True), message("assistant", "three"), message("user", "where?")


def test_questions_and_answers_go_before_the_last_question():
    assert before(FIRST) == []
    assert before(FIRST, ANSWER, NEXT) == [Message("user", "how many?"), Message("assistant", "three")]


@pytest.mark.parametrize(
    "messages",
    [
        [message("user", "hello"), ANSWER, message("user", "how many?", shown=True)],
        [message("system", "be brief"), FIRST],
        [FIRST, NEXT],
        [FIRST, ANSWER],
        [FIRST, ANSWER, message("user", "and here?", shown=True)],
    ],
    ids=["the picture later", "a system message", "two in a row", "ends with an answer", "two pictures"],
)
def test_other_orders_are_refused_and_never_read_in_part(messages):
    with pytest.raises(Refusal):
        before(*messages)


def test_a_model_that_takes_one_question_refuses_a_second():
    with pytest.raises(Refusal, match="one picture and one question"):
        before(FIRST, ANSWER, NEXT, takes_turns=False)
