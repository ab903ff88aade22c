"""Special tokens of a Whisper: from generation_config.json, and from its tokenizer where that is old or missing.

Checkpoints saved before transformers 4.31 name neither languages nor tasks there. They are tokens like <|de|> and
<|translate|>, which every tokenizer of a Whisper holds, also that of an English-only model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.errors import ModelError
from penjing.models.front_ends import checkpoint_tokenizer, has_tokenizer

START, END, NO_TIMESTAMPS = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
TASKS = ("transcribe", "translate")
NEVER_WRITTEN = (START, "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>",
                 "<|nocaptions|>")  # fmt: skip
LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
MULTILINGUAL_WORDS = 51865
"""A Whisper of at least so many tokens is multilingual; the English-only ones have one less (openai/whisper,
`Whisper.is_multilingual`)."""
FIRST_WORDS = {"!": 0, '"': 1, "#": 2}
"""Where a vocabulary begins like this, the ids of its symbols are those that transformers lists."""


def special_tokens(net: Any, folder: Path | None) -> dict[str, Any]:
    """Ids of the start token, of languages by code, of tasks by name, and of the token that says: no times.

    Raises:
        ModelError: Neither generation_config.json nor the tokenizer names the start token.
    """
    generation = net.generation_config
    named = _named(folder)
    languages, tasks = _languages(generation), dict(getattr(generation, "task_to_id", None) or {})
    if not languages and _is_multilingual(net, named):
        codes = {LANGUAGE.fullmatch(name): number for name, number in named.items()}
        languages = {match[1]: number for match, number in codes.items() if match is not None}
        tasks = tasks or {task: named[f"<|{task}|>"] for task in TASKS}
    start = generation.decoder_start_token_id
    if start is None:
        start = named.get(START)
    if start is None:
        raise ModelError(
            "neither generation_config.json nor the tokenizer names the token that a transcript starts with",
            hint=f"add decoder_start_token_id to generation_config.json, the id of {START}",
        )
    no_timestamps = getattr(generation, "no_timestamps_token_id", None)
    return {
        "start": start,
        "no_timestamps": named.get(NO_TIMESTAMPS) if no_timestamps is None else no_timestamps,
        "languages": languages,
        "tasks": tasks,
    }


def _languages(generation: Any) -> dict[str, int]:
    """Map "de" to the id of <|de|>; empty where generation_config.json names none."""
    table = getattr(generation, "lang_to_id", None) or {}
    return {token.strip("<|>"): number for token, number in table.items()}


def _is_multilingual(net: Any, named: Mapping[str, int]) -> bool:
    """Whether a model whose generation_config.json names no language knows several."""
    if not all(f"<|{task}|>" in named for task in TASKS):
        return False
    told = getattr(net.generation_config, "is_multilingual", None)
    return bool(told) if told is not None else int(net.config.vocab_size) >= MULTILINGUAL_WORDS


def suppressed_tokens(net: Any, folder: Path | None) -> dict[str, list[int]]:
    """Ids of tokens that are never written (`suppress`), and of those that no transcript begins with.

    Where generation_config.json does not list them, they are what every published Whisper has: symbols
    that nobody speaks, special tokens of the prompt, and at the beginning the blank and the end.
    """
    from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS, NON_SPEECH_TOKENS_MULTI

    generation, named = net.generation_config, _named(folder)
    never, first = generation.suppress_tokens, generation.begin_suppress_tokens
    if not (folder and named and _has_first_words(folder)):
        return {"suppress": list(never or []), "begin_suppress": list(first or [])}
    if never is None:
        several = _languages(generation) or _is_multilingual(net, named)
        symbols = NON_SPEECH_TOKENS_MULTI if several else NON_SPEECH_TOKENS
        never = [token for token in symbols if token < named[END]]
        never += [named[name] for name in NEVER_WRITTEN if name in named]
    if not _lists(folder, "begin_suppress_tokens"):
        first = [checkpoint_tokenizer(folder).token_to_id("\u0120"), named[END]]
    return {"suppress": list(never), "begin_suppress": list(first)}


def _has_first_words(folder: Path) -> bool:
    tokenizer = checkpoint_tokenizer(folder)
    return {word: tokenizer.token_to_id(word) for word in FIRST_WORDS} == FIRST_WORDS


def _lists(folder: Path, key: str) -> bool:
    """Whether generation_config.json has a key. config.json does not count: transformers writes its default there,
    which is that of English-only models."""
    path = folder / "generation_config.json"
    return path.is_file() and key in json.loads(path.read_text(encoding="utf8"))


def _named(folder: Path | None) -> dict[str, int]:
    """Id of every added token of the tokenizer; none where there is no tokenizer."""
    if folder is None or not has_tokenizer(folder):
        return {}
    added = checkpoint_tokenizer(folder).get_added_tokens_decoder()
    return {token.content: number for number, token in added.items()}
