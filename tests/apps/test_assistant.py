"""The support desk: what is found and cited, when it hands over, what a conversation remembers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from penjing.apps.answering import supporting
from penjing.apps.assistant import NOT_KNOWN, Tools, open_desk
from penjing.apps.confidence import builtin_folder, fitted, learn, read_questions
from penjing.apps.retrieval import AT_ONCE, Retriever, sentences, stems
from penjing.data.knowledge import read_knowledge
from penjing.errors import ArtifactError, DataError

pytestmark = pytest.mark.shop


class Letters:
    """Embeds a text by its pairs of letters: alike where words are alike."""

    task = "encoder"
    modalities = ("text",)

    def read(self, item, modality):
        return item.lower()

    def embed_read(self, read, modality):
        found = np.zeros((len(read), 512), np.float32)
        for row, text in enumerate(read):
            for place in range(len(text) - 2):
                found[row, hash_of(text[place : place + 3]) % 512] += 1
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def hash_of(text: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(text))


class Writer:
    """Says what it is told to say, and remembers what it was asked. A word is a token, and `<|end|>` one of its own."""

    task = "causal-lm"

    def __init__(self, says: str, context_tokens: int = 4000, system: tuple[str, str] | None = ("", "")) -> None:
        self.says, self.context_tokens, self.asked = says, context_tokens, []
        self.settings = {"chat": {"begin": "", "system": system}}

    def prompt_tokens(self, messages):
        if any("<|end|>" in one.text for one in messages):
            raise DataError("a message holds <|end|>, a token of the model's own", hint="leave it out")
        if self.settings["chat"]["system"] is None and messages[0].role == "system":
            raise DataError("the chat template of this model takes no system message", hint="leave it out")
        return [0] * sum(len(one.text.split()) for one in messages)

    def generate(self, messages, style):
        if len(self.prompt_tokens(messages)) >= self.context_tokens:
            raise DataError("the prompt is too long", hint="cut it")
        self.asked.append(messages)
        yield self.says


@pytest.fixture(scope="module")
def knowledge() -> Path:
    return builtin_folder() / "knowledge"


def test_stems_and_sentences():
    assert stems("The trees were SHIPPED, and shipping costs?") == ["tree", "ship", "ship", "cost"]
    assert stems("松树 two") == ["松", "树", "two"]
    assert sentences("One. Two!\nThree") == ["One.", "Two!", "Three"]


def test_passages_by_their_words(knowledge):
    retriever = Retriever(read_knowledge(knowledge))
    best = retriever.find("how much are shipping costs").found
    assert best[0].passage.id == "shipping.md#Shipping costs"
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    assert len(best) == 3
    assert retriever.find("").found[0].words == 0


def test_meaning_is_added_to_words(knowledge):
    passages = read_knowledge(knowledge)
    alone, both = Retriever(passages), Retriever(passages, Letters())
    one = both.find("repotting").found[0]
    assert one.score == pytest.approx(one.cosine + 0.02 * one.words, rel=1e-5)
    assert one.cosine > 0
    assert alone.find("repotting").found[0].cosine == 0


def test_passages_are_embedded_some_at_a_time(tmp_path):
    class Counts(Letters):
        most = 0

        def embed_read(self, read, modality):
            self.most = max(self.most, len(read))
            return super().embed_read(read, modality)

    (tmp_path / "many.md").write_text("".join(f"# Title {number}\n\nText {number}.\n" for number in range(100)))
    model = Counts()
    found = Retriever(read_knowledge(tmp_path), model).find("Title 77: Text 77.").found[0]
    assert found.passage.title == "Title 77"
    assert 1 < model.most <= AT_ONCE


def test_a_fit_that_can_be_computed_by_hand():
    signs = np.array([[0.0], [1.0], [2.0], [3.0]])
    answered = np.array([False, False, True, True])
    found = fitted(signs, answered)
    chances = [found.of(row) for row in signs]
    assert chances == sorted(chances)
    assert chances[1] < found.threshold < chances[2]
    z = (signs[:, 0] - 1.5) / np.std(signs)
    slope = sum((found.of(row) - right) * at for row, right, at in zip(signs, answered, z, strict=True))
    assert slope + found.weights[0] == pytest.approx(0, abs=1e-6)  # the gradient of the ridge regression


def test_what_it_is_sure_of_depends_on_the_knowledge(knowledge):
    found = learn(Letters())
    retriever = Retriever(read_knowledge(knowledge), Letters())
    questions = read_questions(builtin_folder() / "questions.jsonl")
    sure = {asked: found.of(retriever.find(asked.question).signs) for asked in questions if asked.part == "tune"}
    right = np.mean([(chance >= found.threshold) == (asked.passage is not None) for asked, chance in sure.items()])
    assert right > 0.65  # letters know little; what MiniLM reaches is in docs/assist.md
    assert 0 < found.threshold < 1


def desk(knowledge: Path, **tools):
    return open_desk(knowledge, Tools(**tools))


def test_an_answer_is_quoted_from_a_passage_that_is_there(knowledge):
    reply = desk(knowledge).talk().ask("what are your shipping costs")
    assert not reply.handed_over
    assert reply.is_quoted
    files = {str(path.relative_to(knowledge)): path.read_text(encoding="utf8") for path in knowledge.rglob("*.*")}
    for one in reply.sources:
        assert " ".join(one.passage.text.split()) in " ".join(files[one.passage.file].split())
    for sentence in sentences(reply.text):
        assert sentence in " ".join(reply.sources[0].passage.text.split())
    assert reply.as_json()["sources"][0]["id"] == "shipping.md#Shipping costs"


@pytest.mark.parametrize("question", ["who won the football world cup in 1974", "integrate x squared", "zzz qqq"])
def test_what_nothing_answers_is_handed_over(question, knowledge):
    reply = desk(knowledge).talk().ask(question)
    assert (reply.handed_over, reply.text) == (True, NOT_KNOWN)
    assert reply.confidence < desk(knowledge).confidence.threshold
    assert reply.sources == ()  # what is near a question that nothing answers is no source


def test_sources_are_the_passages_that_hold_the_answer(knowledge):
    asked = "what are your shipping costs"
    reply = desk(knowledge).talk().ask(asked)
    assert [one.passage.id for one in reply.sources] == ["shipping.md#Shipping costs"]
    found = desk(knowledge).retriever.find(asked).found
    assert len(found) == 3
    first, second, third = (one.passage.text for one in found)
    for text, expected in (
        (sentences(second)[0], [1]),
        (f"{sentences(third)[0]} {sentences(first)[0]}", [0, 2]),
        (asked, [0]),
    ):
        cited = supporting(text, asked, found)
        assert [found.index(one) for one in cited] == expected
        written = desk(knowledge, writes=Writer(text)).talk().ask(asked)
        assert (written.is_quoted, written.sources) == (False, cited)


def test_a_model_may_write_what_passages_hold_and_nothing_else(knowledge):
    asked = "what are your shipping costs"
    true = desk(knowledge).talk().ask(asked).text
    writer = Writer(true)
    reply = desk(knowledge, writes=writer).talk().ask(asked)
    assert (reply.text, reply.is_quoted) == (true, False)
    assert "Shipping costs" in writer.asked[0][-1].text
    invented = Writer("Our drones deliver everywhere for nothing and the president pays, hooray")
    reply = desk(knowledge, writes=invented).talk().ask(asked)
    assert (reply.text, reply.is_quoted) == (true, True)
    assert invented.asked


def test_why_an_answer_is_quoted_after_all(knowledge):
    asked = "what are your shipping costs"
    alone = desk(knowledge).talk().ask(asked)
    true = alone.text
    for writer, note in (
        (Writer(true), ""),
        (Writer(""), "quoted: the language model wrote nothing"),
        (Writer("Our drones deliver everywhere, hooray"), "wrote what the passages do not hold"),
        (Writer(true, context_tokens=130), "longer than it reads"),
    ):
        reply = desk(knowledge, writes=writer).talk().ask(asked)
        assert (reply.text, reply.sources[0].passage.id) == (true, alone.sources[0].passage.id)
        assert note in reply.note
        assert reply.is_quoted is bool(reply.note)
        assert reply.as_json()["note"] == reply.note
    assert alone.note == ""  # nobody should have written it


def told(writer: Writer) -> str:
    return writer.asked[-1][-1].text


def test_a_writer_is_given_as_much_as_it_can_read(tmp_path):
    (tmp_path / "shop.md").write_text(SHOP)
    asked = "What does shipping cost? And returns, watering, hours?"
    whole, two, one = (Writer("", context_tokens) for context_tokens in (4000, 185, 178))
    for writer in (whole, two, one):
        open_desk(tmp_path, Tools(writes=writer)).talk().ask(asked)
    counts = [told(writer).count("\n\n") for writer in (whole, two, one)]
    assert counts[0] == 3
    assert counts == sorted(counts, reverse=True)
    assert counts[2] < 3
    assert all(told(writer).endswith(asked) for writer in (whole, two, one))


def test_one_long_passage_is_cut_and_what_was_said_goes_before_it(tmp_path):
    lines = [f"Shipping to country {number} costs {number} euros." for number in range(28)]
    (tmp_path / "shop.md").write_text("# Shipping\n\n" + " ".join(lines) + SHOP.partition("elsewhere.")[2])
    writer = Writer("Shipping to country 0 costs 0 euros.", 290)
    talk = open_desk(tmp_path, Tools(writes=writer)).talk()
    reply = talk.ask("What does shipping to a country cost?")
    assert (reply.is_quoted, reply.note) == (False, "")
    assert "country 0 costs" in told(writer)
    assert "country 27 costs" not in told(writer)
    talk.ask("What does shipping to a country cost in euros?")
    assert [message.role for message in writer.asked[-1]] == ["system", "user"]


@pytest.mark.parametrize("where", ["shop.md", "other.md", "question", "said"])
def test_tokens_of_the_models_own_speak_for_nobody(where, tmp_path):
    texts = {"shop.md": SHOP, "other.md": "# Moon\n\nBring a rocket.\n"}
    if where in texts:
        texts[where] = texts[where].replace("\n\n", "\n\n<|end|> ", 1)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    writer = Writer("Shipping costs 5 euros.")
    talk = open_desk(tmp_path, Tools(writes=writer)).talk()
    if where == "said":
        talk.ask("opening hours? <|end|>")
    reply = talk.ask("What does shipping cost?" + (" <|end|>" if where == "question" else ""))
    assert not reply.handed_over
    assert not any("<|end|>" in message.text for messages in writer.asked for message in messages)
    if where == "question":
        assert (reply.is_quoted, writer.asked) == (True, [])
        assert "a message holds <|end|>" in reply.note
    else:
        assert (reply.text, reply.is_quoted, reply.note) == ("Shipping costs 5 euros.", False, "")
        assert ("rocket" in told(writer), "inside Germany" in told(writer)) == (where != "other.md", where != "shop.md")


def test_a_template_without_a_system_message_is_told_by_the_user(knowledge):
    true = desk(knowledge).talk().ask("what are your shipping costs").text
    writer = Writer(true, system=None)
    reply = desk(knowledge, writes=writer).talk().ask("what are your shipping costs")
    assert (reply.text, reply.is_quoted) == (true, False)
    assert [message.role for message in writer.asked[0]] == ["user"]
    assert "You work at a support desk" in told(writer)


def test_a_conversation_is_remembered(knowledge):
    writer = Writer("")
    talk = desk(knowledge, writes=writer).talk()
    first = talk.ask("what are your shipping costs")
    talk.ask("and for soil?")
    said = [message.text for message in writer.asked[-1][1:-1]]
    assert said == ["what are your shipping costs", first.text]
    asked = desk(knowledge)
    alone, after = asked.talk(), asked.talk()
    after.ask("what are your shipping costs")
    assert after.ask("and for soil?").confidence > alone.ask("and for soil?").confidence


class Ears:
    task = "speech-seq2seq"

    def transcribe(self, sound):
        return type("Said", (), {"text": f"what are your shipping {sound}" if sound else ""})()


class Eyes:
    task = "multimodal"

    def caption(self, picture):
        return f"a {picture} maple"


def test_spoken_and_shown(knowledge):
    talk = desk(knowledge, hears=Ears(), sees=Eyes()).talk()
    assert talk.ask(sound="costs").heard == "what are your shipping costs"
    assert talk.ask("how do I water", picture="red").heard == "how do I water a red maple"
    with pytest.raises(DataError, match="no speech was heard"):
        talk.ask(sound="")
    for given, said in (({"sound": 1}, "does not hear"), ({"picture": 1}, "does not see"), ({}, "nothing was asked")):
        with pytest.raises(DataError, match=said):
            desk(knowledge).talk().ask(**given)


def test_models_of_another_role_are_refused(knowledge):
    for name, model in (("embeds", Writer("")), ("writes", Letters()), ("hears", Letters()), ("sees", Letters())):
        with pytest.raises(ArtifactError, match=f"the model that {name}"):
            open_desk(knowledge, Tools(**{name: model}))


def test_own_questions_teach_when_to_hand_over(tmp_path):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "a.csv").write_text("question,answer\nopening hours,nine to five\nparking,behind the house\n")
    hours = "a.csv#opening hours"
    rows = [("when do you open", hours), ("opening hours", hours), ("is there parking", "a.csv#parking"),
            ("do you sell fish", None), ("tell me a joke", None), ("what is love", None)]  # fmt: skip
    lines = [json.dumps({"question": question, "passage": passage}) for question, passage in rows]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    made = open_desk(tmp_path / "k", Tools(), read_questions(tmp_path / "q.jsonl"))
    assert not made.talk().ask("parking?").handed_over
    assert made.talk().ask("do you sell birds").handed_over
    (tmp_path / "q.jsonl").write_text(lines[0])
    with pytest.raises(DataError, match="with and without an answer"):
        read_questions(tmp_path / "q.jsonl")


SHOP = """# Shipping

Shipping costs 5 euros inside Germany and 12 euros elsewhere.

# Returns

You may send goods back within 30 days.

# Opening hours

The shop is open from Monday to Friday.

# Watering

Water a bonsai when the soil feels dry.
"""


@pytest.mark.parametrize("model", [None, Letters()], ids=["words", "letters"])
def test_a_small_folder_answers_as_a_large_one_does(model, tmp_path):
    (tmp_path / "shop.md").write_text(SHOP)
    desk = open_desk(tmp_path, Tools(embeds=model))
    answered = {asked: desk.talk().ask(asked) for asked in ("What does shipping cost?", "opening hours?")}
    assert [reply.handed_over for reply in answered.values()] == [False, False]
    assert [reply.sources[0].passage.title for reply in answered.values()] == ["Shipping", "Opening hours"]
    assert desk.talk().ask("Who won the world cup?").handed_over


def test_questions_of_passages_that_are_not_there(tmp_path):
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "shop.md").write_text(SHOP)
    table = tmp_path / "questions.csv"
    table.write_text("question,passage\nWhat is it?,shop.md#Ship\nWho are you?,\n")
    with pytest.raises(DataError, match=r"not known: shop\.md#Ship") as told:
        open_desk(tmp_path / "known", Tools(), read_questions(table))
    assert "shop.md#Shipping" in told.value.hint
