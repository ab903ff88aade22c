"""A chat template written out once says what transformers says, turn after turn; one that cannot be is left."""

from __future__ import annotations

import pytest

from penjing.data.chat import Message, takes_system, written_out
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


GENERIC = [
    ["user", "user"],
    ["system", "system", "user"],
    ["user", "system", "user"],
    ["user", "assistant", "system", "user"],
    ["user", "assistant", "tool", "tool", "user"],
    ["user", "tool"],
    ["system"],
]


@pytest.mark.parametrize("roles", GENERIC, ids="-".join)
def test_any_order_that_the_template_writes_is_written(roles, tmp_path):
    settings = chat_settings(folder_with(CHATML, tmp_path))
    messages = [Message(role, f"message {place}") for place, role in enumerate(roles)]
    assert written_out(messages, settings) == by_transformers(CHATML, messages)


def test_an_answer_that_was_begun_is_left_open(tmp_path):
    for template in (CHATML, INST):
        settings = chat_settings(folder_with(template, tmp_path))
        messages = [Message("user", "count"), Message("assistant", "one, two")]
        said = [{"role": one.role, "content": one.text} for one in messages]
        wanted = tokenizer().apply_chat_template(
            said, chat_template=template, tokenize=False, continue_final_message=True
        )
        assert written_out(messages, settings) == wanted


def test_a_template_that_strips_messages_has_them_stripped(tmp_path):
    template = CHATML.replace("m['content'] }}", "m['content'] | trim }}")
    settings = chat_settings(folder_with(template, tmp_path))
    messages = [Message("user", "  hello "), Message("assistant", " hi\n"), Message("user", " why ")]
    assert written_out(messages, settings) == by_transformers(template, messages)
    assert chat_settings(folder_with(CHATML, tmp_path))["strip"] == []


def test_settings_of_artifacts_of_before(tmp_path):
    before = {"begin": "<b>", "answer": "<a>", "again": "<u>", "end": "<e>", "system": ["<s>", "</s>"]}
    said = [Message("system", "1"), Message("user", "2"), Message("assistant", "3"), Message("user", "4")]
    assert written_out(said, before) == "<s>1</s>2<a>3<u>4<e>"
    assert written_out(said[1:2], before) == "<b>2<e>"
    assert takes_system(before)
    assert not takes_system({**before, "system": None})


def test_what_a_conversation_must_be(tmp_path):
    settings = chat_settings(folder_with(INST, tmp_path))
    for wrong, why in (
        ([Message("system", "x"), TURNS[0]], "takes no system message first"),
        ([Message("nobody", "x")], "takes no nobody message first"),
        ([], "a conversation of no message"),
    ):
        with pytest.raises(DataError, match=why):
            written_out(wrong, settings)
    with pytest.raises(ArtifactError, match="no chat template"):
        written_out(TURNS[:1], None)


def test_a_template_that_wants_turns_refuses_others(tmp_path):
    strict = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}"
        "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    )
    settings = chat_settings(folder_with(strict, tmp_path))
    for wrong in ([TURNS[0], TURNS[0]], [TURNS[1]], [*TURNS[:2], Message("system", "x")]):
        with pytest.raises(DataError, match="takes no") as caught:
            written_out(wrong, settings)
        assert "in turns" in caught.value.hint
