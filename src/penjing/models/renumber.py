"""Token numbers outside of a tokenizer: in configurations, on modules, in a checkpoint's files, as rows of tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.checkpoint import read_json
from penjing.models.roles import input_tables, output_layers
from penjing.models.sizes import nested
from penjing.models.vocabulary import Document, Numbers

NAMES_TOKENS = re.compile(r"(token_ids?|token_index|forced_decoder_ids|(lang|task)_to_id|padding_idx)$")
"""Keys whose numbers are tokens, alone, in lists or by name."""
SUPPRESSED = ("suppress_tokens", "begin_suppress_tokens")
"""Lists of tokens that must never be written: those that are gone never will be."""
CONFIGURATIONS = ("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json")
SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""What a tokenizer was made from, in a form of its own; transformers reads tokenizer.json without it."""


def vocabulary_tables(net: nn.Module) -> list[nn.Module]:
    """Every module over a vocabulary: tables of words, and heads with as many rows as one of them."""
    tables: list[nn.Module] = [*input_tables(net)]
    rows = {len(_weight(table)) for table in tables}
    return tables + [head for head in output_layers(net) if isinstance(head, nn.Linear) and len(_weight(head)) in rows]


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight


def named_tokens(net: Any) -> set[int]:
    """Tokens that configurations, or what lies around tables, name by number."""
    found: set[int] = set()
    for holder in _holders(net):
        for key, value in holder.items():
            if NAMES_TOKENS.search(key):
                found |= set(_numbers_in(value))
    # Some networks count positions from behind the padding token: up to it everything keeps its number.
    tables = {id(table) for table in input_tables(net)}
    for module in net.modules():
        if isinstance(module, nn.Embedding) and id(module) not in tables and module.padding_idx is not None:
            found |= set(range(module.padding_idx + 1))
    return found


def _holders(net: Any) -> Iterator[dict[str, Any]]:
    """The attributes of configurations and modules, each once."""
    seen: set[int] = set()
    generation = getattr(net, "generation_config", None)
    for one in (*nested(net.config), *([] if generation is None else [generation]), *net.modules()):
        if id(one) not in seen:
            seen.add(id(one))
            yield vars(one)
        inner = getattr(one, "config", None)
        if inner is not None and id(inner) not in seen and hasattr(inner, "__dict__"):
            seen.add(id(inner))
            yield vars(inner)


def _numbers_in(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers_in(inner)
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        yield value


def renumber_network(net: Any, numbers: Numbers, rows: int) -> None:
    """Keep the rows of kept tokens in everything as long as the vocabulary, and tell configurations; in place."""
    order = torch.tensor([*numbers])
    tables = [module for module in vocabulary_tables(net) if len(_weight(module)) == rows]
    weights = {id(module.weight) for module in tables}
    for name, parameter in net.named_parameters():
        if id(parameter) in weights or (name.endswith("bias") and parameter.shape == (rows,)):
            parameter.data = parameter.data[order].clone()
    for name, buffer in [*net.named_buffers()]:
        if buffer.shape == (1, rows):
            above, _, own = name.rpartition(".")
            setattr(net.get_submodule(above), own, buffer[:, order].clone())
    for module in net.modules():
        for name in ("num_embeddings", "out_features"):
            if id(getattr(module, "weight", None)) in weights and hasattr(module, name):
                setattr(module, name, len(order))
    for holder in _holders(net):
        for key, value in [*holder.items()]:
            holder[key] = _renumbered(key, value, numbers, rows)


def _renumbered(key: str, value: Any, numbers: Numbers, rows: int) -> Any:
    """What an attribute or an entry of a file says afterwards."""
    if key == "vocab_size" and value == rows:
        return len(numbers)
    if key in SUPPRESSED and isinstance(value, (list, tuple)):
        return [numbers[token] for token in value if token in numbers]
    if key.endswith("forced_decoder_ids") and isinstance(value, (list, tuple)):
        return [[place, _moved(token, numbers)] for place, token in value]
    return _moved(value, numbers) if NAMES_TOKENS.search(key) else value


def _moved(value: Any, numbers: Numbers) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(inner, numbers) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_moved(inner, numbers) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return numbers.get(value, value)
    return value


def renumber_files(folder: Path, tokenizer: Document, numbers: Numbers, rows: int) -> None:
    """Rewrite every file of a checkpoint's folder that names tokens; `tokenizer` is its tokenizer.json to be."""
    _write(folder / "tokenizer.json", tokenizer)
    for name in CONFIGURATIONS:
        _rewrite(folder / name, lambda found: _renumbered_document(found, numbers, rows))
    _rewrite(folder / "added_tokens.json", lambda found: {token: numbers[number] for token, number in found.items()})
    _rewrite(folder / "tokenizer_config.json", lambda found: _renumbered_decoder(found, numbers))
    for name in SENTENCEPIECE:
        (folder / name).unlink(missing_ok=True)
    model = tokenizer["model"]
    _rewrite(folder / "vocab.json", lambda found: model["vocab"])
    if (folder / "vocab.txt").is_file():
        words = sorted(model["vocab"], key=model["vocab"].get)
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf8")
    if (folder / "merges.txt").is_file():
        merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf8")


def _rewrite(path: Path, change: Any) -> None:
    if path.is_file():
        _write(path, change(read_json(path)))


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def _renumbered_document(found: Any, numbers: Numbers, rows: int) -> Any:
    """A configuration with configurations inside."""
    if not isinstance(found, dict):
        return found
    inner = {key: _renumbered_document(value, numbers, rows) for key, value in found.items()}
    return {key: _renumbered(key, value, numbers, rows) for key, value in inner.items()}


def _renumbered_decoder(found: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """tokenizer_config.json lists added tokens by their number, written as text."""
    listed = found.get("added_tokens_decoder")
    if not isinstance(listed, dict):
        return found
    moved = {str(numbers[int(number)]): token for number, token in listed.items() if int(number) in numbers}
    return {**found, "added_tokens_decoder": moved}
