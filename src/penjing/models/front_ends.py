"""What the shop must know to read texts and pictures as a checkpoint does, from the checkpoint's own files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.data.image import ImageFrontEnd, read_image
from penjing.data.row import Row
from penjing.data.text import Item, SafeTokenizer, TextFrontEnd, contained, open_tokenizer
from penjing.errors import DataError, ModelError
from penjing.models.checkpoint import read_json
from penjing.models.network import quiet
from penjing.models.tower import Batch
from penjing.stamps import Memo

TOKENIZER_FILES = (
    "tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"
)  # fmt: skip
BESIDE = (
    "merges.txt", "added_tokens.json", "special_tokens_map.json", "normalizer.json", "tokenizer_config.json",
    "config.json",
)  # fmt: skip
"""What else older tokenizers are made of; config.json names the class where nothing else does."""

_MADE: Memo[str] = Memo()


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint has a tokenizer, in whatever files."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def front_end_file(folder: Path | None, part: str) -> dict[str, Any] | None:
    """Read preprocessor_config.json, or the part of the processor_config.json that newer checkpoints have instead."""
    if folder is None:
        return None
    if (folder / "preprocessor_config.json").is_file():
        return read_json(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():
        found = read_json(folder / "processor_config.json").get(part)
        return found if isinstance(found, dict) else None
    return None


def longest_text(config: Any, embeddings: Any) -> int:
    """Tokens that the positions of a text encoder reach; some count from behind the padding token (RoBERTa)."""
    first = getattr(embeddings, "padding_idx", None)
    positions = int(config.max_position_embeddings)
    return positions if first is None else positions - first - 1


def text_settings(
    folder: Path | None, inputs: Sequence[str], longest: int, padding: str = "longest"
) -> dict[str, Any] | None:
    """Ask transformers how this checkpoint's tokenizer pads, cuts and lower-cases: the settings of TextFrontEnd.

    `longest` is the most tokens that the network reads. None where the folder has no tokenizer.
    """
    if folder is None or not has_tokenizer(folder):
        return None
    tokenizer = open_fast(folder)
    return {
        "inputs": list(inputs),
        "max_length": min(longest, int(tokenizer.model_max_length)),
        "padding": padding,
        "pad_id": int(tokenizer.pad_token_id or 0),
        "pad_token": str(tokenizer.pad_token or ""),
        "pad_side": tokenizer.padding_side,
        "lower": _must_lower(folder, tokenizer),
    }


def open_fast(folder: Path) -> Any:
    """Open a checkpoint's tokenizer in its fast form, the only one that the shop can run."""
    import transformers

    tokenizer: Any = None
    why = ""
    with quiet(), contained(str(folder)):
        if (folder / "tokenizer_config.json").is_file():
            read_json(folder / "tokenizer_config.json")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # a slow class raises whatever it likes where its own library is not installed
            why = f": {' '.join(str(error).split())[:200] or type(error).__name__}"
        if getattr(tokenizer, "backend_tokenizer", None) is not None:
            return tokenizer
        if (folder / "tokenizer.json").is_file():
            open_tokenizer(folder / "tokenizer.json")  # says what is wrong with it, where something is
            try:
                return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ModelError(
                    f"{folder}: transformers cannot read its tokenizer: {reason}", hint="save the tokenizer again"
                ) from error
    raise ModelError(f"{folder}: no fast tokenizer{why}", hint="save one there: its tokenizer.json is what runs later")


def _must_lower(folder: Path, tokenizer: Any) -> bool:
    """Return whether transformers lower-cases although tokenizer.json, read by itself, does not."""
    path = folder / "tokenizer.json"
    with contained(str(path)):
        return path.is_file() and _lowers(tokenizer.backend_tokenizer) and not _lowers(open_tokenizer(path))


def _lowers(tokenizer: Any) -> bool:
    return tokenizer.normalizer is not None and "a" in tokenizer.normalizer.normalize_str("A")


def tokenizer_json(folder: Path, kept: ExitStack) -> Path:
    """Return the checkpoint's tokenizer.json, or one made from its older files that lives as long as `kept`."""
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    made = Path(kept.enter_context(tempfile.TemporaryDirectory())) / "tokenizer.json"
    files = [folder / name for name in (*TOKENIZER_FILES, *BESIDE) if (folder / name).is_file()]
    made.write_text(_MADE.get(files, lambda: str(open_fast(folder).backend_tokenizer.to_str())), encoding="utf8")
    return made


def checkpoint_tokenizer(folder: Path) -> SafeTokenizer:
    """The tokenizer of a checkpoint as the shop will run it, whatever files it is kept in."""
    with ExitStack() as kept:
        return open_tokenizer(tokenizer_json(folder, kept))


def see(settings: Mapping[str, Any]) -> Callable[[Path | bytes], Batch]:
    """A function from a picture's file to the input of a network that sees."""
    front_end = ImageFrontEnd(settings)
    return lambda file: {"pixel_values": torch.from_numpy(front_end(read_image(file)))[None]}


def read_rows(
    settings: Mapping[str, Any] | None, folder: Path, rows: Iterable[Row], item: Callable[[Row], Item]
) -> Iterator[Batch]:
    """Yield the inputs of a network that reads texts, row by row; `item` says what is read of a row."""
    if settings is None:
        raise ModelError(
            f"{folder}: no tokenizer.json, so data cannot be fed to it", hint="copy it from the original model"
        )
    with ExitStack() as kept:
        read = TextFrontEnd(tokenizer_json(folder, kept), settings)
        for row in rows:
            if not row.fields.get("text"):
                raise DataError(f"row {row.id!r} has no text", hint="this model is fed with a column `text`")
            yield {name: torch.from_numpy(values) for name, values in read([item(row)]).items()}
