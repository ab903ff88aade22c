"""Short questions after an answered one: only what a passage knows is answered."""

from __future__ import annotations

import pytest

from penjing.apps.assistant import NOT_KNOWN, Tools, open_desk
from penjing.apps.confidence import builtin_folder

pytestmark = pytest.mark.shop


@pytest.mark.parametrize(
    ("first", "follows", "passage"),
    [
        ("what are your shipping costs", "and for soil?", "shipping.md#Shipping costs"),
        ("what are your shipping costs", "tools?", "shipping.md#Shipping costs"),
        ("Which countries do you deliver to?", "Switzerland?", "shipping.md#Countries we deliver to"),
    ],
)
def test_what_a_passage_knows_is_answered_though_alone_it_would_not_be(first, follows, passage):
    desk = open_desk(builtin_folder() / "knowledge", Tools())
    talk = desk.talk()
    talk.ask(first)
    reply = talk.ask(follows)
    assert (reply.handed_over, reply.sources[0].passage.id) == (False, passage)
    assert desk.talk().ask(follows).handed_over


@pytest.mark.parametrize(
    "follows",
    ["Napoleon?", "ok", "thanks", "why?", "bitcoin", "Are you human?", "猫", "and to the moon?", "what about pizza"],
)
def test_what_no_passage_knows_is_handed_over_though_something_was_answered_before(follows):
    talk = open_desk(builtin_folder() / "knowledge", Tools()).talk()
    assert not talk.ask("what are your shipping costs").handed_over
    reply = talk.ask(follows)
    assert (reply.handed_over, reply.text) == (True, NOT_KNOWN)
