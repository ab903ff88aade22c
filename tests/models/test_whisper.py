"""Whisper's own ways: what its decoder hears while it is measured and taught, and its special tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models

from penjing.errors import ModelError
from penjing.models.families.whisper_tokens import special_tokens, suppressed_tokens


def test_the_decoder_hears_silence_after_the_clip(fresh):
    model = fresh("whisper")
    longest = 2 * model.net.config.max_source_positions
    batch = model.family.probe(model.net, 0)
    clip = torch.randn(1, batch["input_features"].shape[1], longest - 200)
    decoder = next(tower for tower in model.towers if tower.name == "decoder")
    words = batch["decoder_input_ids"]
    found = decoder.run({"input_features": clip, "decoder_input_ids": words})
    silence = clip.min().expand(*clip.shape[:2], 200)
    wanted = model.net(input_features=torch.cat([clip, silence], 2), decoder_input_ids=words).logits
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, decoder.run({"input_features": clip[:, :, :-20], "decoder_input_ids": words}))


VOCABULARY = {word: number for number, word in enumerate(["!", '"', "#", "\u0120", "a", "b"])}
"""Begins as that of every published Whisper does."""
CODES = ("en", "zh", "de", "haw")


def save_tokenizer(folder: Path, *, specials: bool = True) -> dict[str, int]:
    """A tokenizer.json with the special tokens of a Whisper; returns their ids."""
    made = Tokenizer(models.WordLevel(VOCABULARY, "a"))
    names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in CODES), "<|translate|>",
             "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    if specials:
        made.add_special_tokens(names)
    made.save(str(folder / "tokenizer.json"))
    return {token.content: number for number, token in made.get_added_tokens_decoder().items()}


def network(words: int, **generation: Any) -> SimpleNamespace:
    """What is read of a network."""
    told = {"decoder_start_token_id": None, "suppress_tokens": None, "begin_suppress_tokens": [220, 50256]}
    return SimpleNamespace(
        generation_config=SimpleNamespace(**{**told, **generation}), config=SimpleNamespace(vocab_size=words)
    )


def test_without_a_generation_config_the_tokens_are_those_of_the_tokenizer(tmp_path):
    ids = save_tokenizer(tmp_path)
    found = special_tokens(network(51865), tmp_path)
    assert found["languages"] == {code: ids[f"<|{code}|>"] for code in CODES}
    assert found["tasks"] == {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    assert (found["start"], found["no_timestamps"]) == (ids["<|startoftranscript|>"], ids["<|notimestamps|>"])
    suppressed = suppressed_tokens(network(51865), tmp_path)
    assert {1, 2} <= set(suppressed["suppress"])
    assert {ids["<|nospeech|>"], ids["<|startoftranscript|>"]} <= set(suppressed["suppress"])
    assert ids["<|notimestamps|>"] not in suppressed["suppress"]
    assert suppressed["begin_suppress"] == [VOCABULARY["\u0120"], ids["<|endoftext|>"]]


@pytest.mark.parametrize(("words", "generation"), [(51864, {}), (51865, {"is_multilingual": False})])
def test_an_english_only_model_knows_no_languages_though_its_tokenizer_has_them(words, generation, tmp_path):
    save_tokenizer(tmp_path)
    found = special_tokens(network(words, **generation), tmp_path)
    assert (found["languages"], found["tasks"]) == ({}, {})


def test_what_the_generation_config_says_counts(tmp_path):
    save_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"begin_suppress_tokens": [7]}')
    told = {"lang_to_id": {"<|de|>": 3}, "task_to_id": {"transcribe": 5}, "no_timestamps_token_id": 9}
    net = network(51865, decoder_start_token_id=2, suppress_tokens=[4], **{**told, "begin_suppress_tokens": [7]})
    assert special_tokens(net, tmp_path) == {
        "start": 2, "no_timestamps": 9, "languages": {"de": 3}, "tasks": {"transcribe": 5},
    }  # fmt: skip
    assert suppressed_tokens(net, tmp_path) == {"suppress": [4], "begin_suppress": [7]}


def test_a_start_token_that_nothing_names_is_not_guessed(tmp_path):
    save_tokenizer(tmp_path, specials=False)
    with pytest.raises(ModelError, match="names the token that a transcript starts with") as caught:
        special_tokens(network(51865), tmp_path)
    assert "decoder_start_token_id" in caught.value.hint
