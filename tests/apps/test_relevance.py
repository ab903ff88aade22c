"""What counts as found: judged on questions that calibrated nothing; and notes about languages a model cannot read."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from penjing.apps import relevance
from penjing.apps.confidence import builtin_folder, read_questions
from penjing.apps.relevance import calibrate_thresholds
from penjing.apps.retrieval import stems
from penjing.apps.search import Searcher, index
from penjing.data.knowledge import read_knowledge
from penjing.data.word_coverage import FEWEST_KNOWN, WordCoverage
from penjing.index.choice import Wanted
from penjing.values import silent
from tiny_colours import Colours, embedding, paint_many

pytestmark = pytest.mark.shop
WIDTH = 512


class Stems:
    """Embeds a text by the stems of its words."""

    task = "encoder"
    modalities = ("text",)

    def __init__(self) -> None:
        passages = [{*stems(one.whole)} for one in read_knowledge(builtin_folder() / "knowledge")]
        self.weights = {stem: 1 / sum(stem in one for one in passages) for stem in set().union(*passages)}

    def read(self, item, modality):
        return stems(item)

    def embed_read(self, read, modality):
        rng_of = lambda stem: np.random.default_rng([*stem.encode()])  # noqa: E731
        vectors = np.full((len(read), WIDTH), 1e-6, np.float32)
        for row, words in enumerate(read):
            for word in words:
                vectors[row] += self.weights.get(word, 1.0) * rng_of(word).standard_normal(WIDTH).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def runner() -> Stems:
    return Stems()


def test_the_threshold_tells_questions_apart_that_calibrated_nothing(runner, monkeypatch):
    monkeypatch.setattr(relevance, "FEWEST_RIGHT", 0.5)  # stems are no model of meaning
    threshold = calibrate_thresholds(runner, {"text", "audio"}, silent)["text"]
    asked = [one for one in read_questions(builtin_folder() / "questions.jsonl") if one.part == "score"]
    passages = runner.embed_read([runner.read(one.whole, "text") for one in _passages()], "text")
    questions = runner.embed_read([runner.read(one.question, "text") for one in asked], "text")
    best, answered = (questions @ passages.T).max(1), np.array([one.passage is not None for one in asked])
    assert (best[answered] >= threshold).mean() > 0.5
    assert (best[~answered] < threshold).mean() > 0.6


def _passages():
    return read_knowledge(builtin_folder() / "knowledge")


def test_a_model_that_cannot_read_the_builtin_pairs_has_no_threshold():
    assert calibrate_thresholds(Colours(), {"image", "text"}, silent) == {}

    class Blind(Colours):
        modalities = ("image",)

    assert calibrate_thresholds(Blind(), {"image"}, silent) == {}


def test_an_index_knows_what_counts_as_found(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(relevance, "FEWEST_RIGHT", 0.5)
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "a.md").write_text(
        "# Shipping costs\n\nParcels cost five euros.\n\n# Frost\n\nKeep it warm.\n"
    )
    model = embedding(tmp_path, runner)
    index(model, [str(tmp_path / "known")], str(tmp_path / "idx"), Wanted(threads=1))
    searcher = Searcher(tmp_path / "idx", model)
    assert 0 < searcher.thresholds["text"] < 1
    hits = searcher.find("what are your shipping costs")
    assert [(hit.title, hit.relevant) for hit in hits] == [("Shipping costs", True), ("Frost", False)]
    assert [hit.relevant for hit in searcher.find("who won the football world cup")] == [False, False]
    assert [hit.relevant for hit in searcher.near(np.ones(WIDTH, np.float32) / np.sqrt(WIDTH))] == [None, None]


def test_without_a_threshold_nothing_is_said_to_be_found_or_not(tmp_path):
    paint_many(tmp_path / "photos", 5)
    model = embedding(tmp_path)
    index(model, [str(tmp_path / "photos")], str(tmp_path / "idx"), Wanted(threads=1))
    searcher = Searcher(tmp_path / "idx", model)
    assert (searcher.thresholds, searcher.language_note("10 200 30")) == ({}, None)
    assert [hit.relevant for hit in searcher.find("10 200 30")] == [None] * 5


ENGLISH = ["the", "red", "bus", "stands", "at", "night", "a", "small", "##er", "##s"]


def word_pieces(extra: list[str]) -> Tokenizer:
    letters = [form for letter in "abcdefghijklmnopqrstuvwxyzäöüß" for form in (letter, f"##{letter}")]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(["[UNK]", *ENGLISH, *letters, *extra]))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


@pytest.mark.parametrize(
    ("query", "share"),
    [("the red bus at night", 1.0), ("a smaller bus", 4 / 11), ("ein roter Wagen", 0.0), ("красный автобус", 0.0),
     ("红色的公交车", 0.0), ("12 + 30", 1.0), ("", 1.0)],
)  # fmt: skip
def test_words_that_a_tokenizer_has_whole(query, share):
    coverage = WordCoverage(word_pieces([*"红色的公交车"]), True)
    assert coverage.known_share(query) == pytest.approx(share)
    note = coverage.note(query)
    assert (note is not None) is (share < FEWEST_KNOWN)
    if note:
        assert f"{share:.0%} of the query" in note


def test_who_knows_thousands_of_characters_reads_them():
    coverage = WordCoverage(word_pieces([chr(0x4E00 + number) for number in range(3000)]), True)
    assert coverage.known_share("一丁七") == 1.0
    assert coverage.known_share("龙龘") == 0.0


@pytest.mark.parametrize("with_prefix", [False, True])
def test_bytes_and_marks_of_words_are_taken_together(with_prefix):
    """Tokenizers of bytes give several tokens for a letter they do not know; a space is part of the word behind it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["red", "Ġred", "re", "Ġre", "Ġ", "bus", "bu", "Ġbu", "Ġbus"]
    tokens = {token: number for number, token in enumerate(dict.fromkeys([*alphabet, *words]))}
    merges = [("r", "e"), ("re", "d"), ("Ġ", "re"), ("Ġre", "d"), ("b", "u"), ("bu", "s"), ("Ġ", "bu"), ("Ġbu", "s")]
    made = Tokenizer(models.BPE(tokens, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=with_prefix)
    made.decoder = decoders.ByteLevel()
    made.enable_padding(length=9)
    coverage = WordCoverage(made, False)
    assert coverage.known_share("red bus") == 1.0
    assert coverage.known_share("красный") == 0.0
    assert coverage.known_share("red 公交") == pytest.approx(3 / 5)
