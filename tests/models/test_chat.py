"""A chat template written out once says what transformers says, turn after turn; one that cannot be is left."""

from __future__ import annotations

import pytest

from penjing.data.chat import Message, written_out
from penjing.errors import ArtifactError, DataError
from penjing.models.families.chat_settings import chat_settings
from tiny_language import tokenizer

CHATML = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}<s>system\nbe kind</s>\n{% endif %}"
    "<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}"
)
FIRST_ONLY = (
    "{% for m in messages %}{% if loop.first %}Q: {{ m.content }}\n{% else %}{{ m.content }};{% endif %}{% endfor %}A:"
)
LOUD = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}assistant:"
BARE = "{% for m in messages %}{{ m.content }}|{% endfor %}"
SAID = ("hello", "hi", "why", "so", "ok")
TURNS = [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(SAID)]


def folder_with(template: str | None, folder):
    made = tokenizer()
    made.chat_template = template
    made.save_pretrained(folder)
    return folder


def by_transformers(template: str, messages: list[Message]) -> str:
    said = [{"role": one.role, "content": one.text} for one in messages]
    return tokenizer().apply_chat_template(said, chat_template=template, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("template", [CHATML, INST])
@pytest.mark.parametrize("turns", [1, 3, 5])
def test_it_writes_what_transformers_writes(template, turns, tmp_path):
    settings = chat_settings(folder_with(template, tmp_path))
    assert written_out(TURNS[:turns], settings) == by_transformers(template, TURNS[:turns])


def test_with_something_told_beforehand(tmp_path):
    settings = chat_settings(folder_with(CHATML, tmp_path))
    messages = [Message("system", "be brief"), *TURNS[:3]]
    assert written_out(messages, settings) == by_transformers(CHATML, messages)


def test_a_template_that_begins_with_the_first_token_gets_no_second_one(tmp_path):
    assert chat_settings(folder_with(INST, tmp_path / "inst"))["special"] is False
    assert chat_settings(folder_with("{% for m in messages %}{{ m.content }}|{% endfor %}", tmp_path / "bare"))[
        "special"
    ]


@pytest.mark.parametrize("template", [None, FIRST_ONLY, LOUD, "{{ raise_exception('never') }}", "nothing that is said"])
def test_templates_that_cannot_be_written_out_are_left(template, tmp_path):
    assert chat_settings(folder_with(template, tmp_path)) is None


def test_what_a_conversation_must_be(tmp_path):
    settings = chat_settings(folder_with(INST, tmp_path))
    with pytest.raises(DataError, match="takes no system message"):
        written_out([Message("system", "x"), TURNS[0]], settings)
    for wrong in ([], TURNS[:2], TURNS[1:2], [TURNS[0], TURNS[0]], [Message("nobody", "x")]):
        with pytest.raises(DataError, match="speak in turns"):
            written_out(wrong, settings)
    with pytest.raises(ArtifactError, match="no chat template"):
        written_out(TURNS[:1], None)
