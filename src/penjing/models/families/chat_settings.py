"""A chat template, written out: what it puts around what is said, found by letting it write marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.models.checkpoint import read_json
from penjing.models.front_ends import TOKENIZER_FILES, open_fast
from penjing.models.network import quiet

MARKS = tuple(f"\ue000{name}\ue001" for name in ("first", "answer", "second", "system"))
"""Stand for what is said; of letters that no template and no text has."""


def chat_template(folder: Path, tokenizer: Any) -> str | None:
    """The chat template of a checkpoint, from whichever of its files holds it."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf8")
    for name in ("chat_template.json", "processor_config.json"):
        found = read_json(folder / name).get("chat_template") if (folder / name).is_file() else None
        if isinstance(found, str):
            return found
    return tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None


def chat_settings(folder: Path | None) -> dict[str, Any] | None:
    """What `penjing.data.chat` reads; None where there is no template, or one that does not write turn after turn.

    A template may change what is said (cut spaces) or what it writes around it as a conversation goes on: it is taken
    only if a longer conversation is written as the pieces of a shorter one say.
    """
    if folder is None or not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    tokenizer = open_fast(folder)
    template = chat_template(folder, tokenizer)
    if template is None:
        return None
    first, answer, second, system = MARKS
    turns = [("user", first), ("assistant", answer), ("user", second)]
    begin, end = _around(_written(tokenizer, template, turns[:1]), first)
    whole = _written(tokenizer, template, turns)
    if begin is None or end is None or whole is None or not whole.startswith(begin + first):
        return None
    between, _, rest = whole[len(begin + first) :].partition(answer)
    again, _, last = rest.partition(second)
    if last != end or any(mark in between + again for mark in MARKS):
        return None
    found: dict[str, Any] = {"begin": begin, "answer": between, "again": again, "end": end, "system": None}
    told = _written(tokenizer, template, [("system", system), *turns[:1]])
    if told is not None and told.count(system) == 1 and told.endswith(first + end):
        before, _, behind = told.removesuffix(first + end).partition(system)
        found["system"] = [before, behind]
    begins = str(tokenizer.bos_token or "")
    return {**found, "special": not (begins and begin.startswith(begins))}


def _written(tokenizer: Any, template: str, turns: list[tuple[str, str]]) -> str | None:
    """What the template writes, None where it refuses."""
    messages = [{"role": role, "content": text} for role, text in turns]
    try:
        with quiet():
            text: str = tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=True
            )
    except Exception:  # a template raises what it likes of roles that it does not know
        return None
    return text


def _around(text: str | None, mark: str) -> tuple[str | None, str | None]:
    if text is None or text.count(mark) != 1:
        return None, None
    before, _, behind = text.partition(mark)
    return before, behind
