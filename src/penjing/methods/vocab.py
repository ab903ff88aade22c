"""Fewer tokens: rows of the table of words and of the head go, and the tokenizer learns to do without."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from penjing.artifact.checkpoint import copy_configuration
from penjing.data.scripts import SCRIPTS, is_written_in, scripts_of
from penjing.data.text import SafeTokenizer, open_tokenizer
from penjing.errors import ModelError, RecipeError, did_you_mean
from penjing.methods.base import Aids, Method, method
from penjing.models.checkpoint import read_json
from penjing.models.family import Model
from penjing.models.front_ends import has_tokenizer, tokenizer_json
from penjing.models.renumber import named_tokens, renumber_files, renumber_network, vocabulary_tables
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.models.vocabulary import added, closure, pieces_of, trimmed
from penjing.runtimes.engine import Engine
from penjing.values import Note

LATIN = frozenset({"LATIN"})
UNFINISHED = "\ufffd"
"""What a tokenizer shows of a token that is a part of a character."""


@method("vocab")
class Vocab(Method):
    """Keep the tokens that texts need, and drop the rows of all others from the table of words and from the head.

    In a recipe: `{method: vocab, languages: [en, de]}`, as the first step. Kept is what calibration data holds
    (`corpus`: tokens seen `least` times; of those the most frequent that make up `coverage` of the data), what a `file`
    of texts holds, and with `languages` every token all letters of which are of the scripts of these languages, by
    the Unicode names of its characters; digits, punctuation and signs belong to every language. Tokens that are parts
    of characters stay with languages that are not written in Latin letters.

    Whatever else is asked for, special and added tokens, tokens that configurations name, the alphabet (all bytes,
    where texts are spelled in bytes) and the steps that lead to a kept token stay. A text of kept tokens is read as
    before, any other one in more and shorter tokens; rows and logits of kept tokens do not change.
    """

    roles: ClassVar[tuple[Role, ...]] = ("embedding", "head")
    needs_data: ClassVar[bool] = True
    restructures: ClassVar[bool] = True
    renames_tokens: ClassVar[bool] = True

    corpus: bool = Field(True, description="keep what calibration data holds")
    least: int = Field(1, ge=1, description="how often calibration data must hold a token")
    coverage: float = Field(1.0, gt=0, le=1, description="share of the calibration data that kept tokens make up")
    languages: tuple[str, ...] = Field((), description="keep every token in the scripts of these languages")
    file: str = Field("", description="keep what the texts in this file hold")

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if not (self.corpus or self.languages or self.file):
            raise ValueError("give corpus, languages or a file: nothing would be kept")
        for language in self.languages:
            if language not in SCRIPTS:
                raise ValueError(f"no language called {language!r} ({did_you_mean(language, [*SCRIPTS])})")
        return self

    @property
    def leaves_codes(self) -> bool:
        """Rows stay floats."""
        return False

    def fits(self, site: Site) -> bool:
        """Tables of words, and heads."""
        return site.kind in ("embedding", "linear")

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse a model without a tokenizer or with several vocabularies, and a file that cannot be read."""
        if not has_tokenizer(model.folder):
            raise ModelError(f"{model.name}: no tokenizer.json, so its vocabulary is not known", hint="copy it there")
        rows = {len(table.weight) for table in vocabulary_tables(model.net)}  # type: ignore[arg-type]
        if len(rows) != 1:
            sizes = " and ".join(map(str, sorted(rows))) or "no"
            raise ModelError(f"{model.name} has {sizes} rows in its tables of words", hint="vocab trims exactly one")
        document = _document(model)
        largest = max([*pieces_of(document).values(), *added(document).values()])
        if largest >= min(rows):
            raise ModelError(
                f"{model.name}: its tokenizer knows token {largest}, its table has {min(rows)} rows",
                hint="take both from the same checkpoint",
            )
        self._texts()

    def folder(self, model: Model, scratch: Path) -> Path:
        """Configuration and tokenizer of fewer tokens."""
        return scratch / "vocabulary"

    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Trim the whole model: its tables are one vocabulary."""
        yield from self.apply_all([target], batches, aids)

    @torch.no_grad()
    def apply_all(self, targets: Sequence[Tower], batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Choose tokens, then rewrite tables, configurations and tokenizer together."""
        model = aids.model
        self.refuse(model, targets)
        if self.corpus:
            self.require(batches)
        document = _document(model)
        (rows,) = {len(table.weight) for table in vocabulary_tables(model.net)}  # type: ignore[arg-type]
        wanted = self._wanted(model, document, batches, rows)
        kept = sorted(closure(document, wanted | {token for token in named_tokens(model.net) if token < rows}))
        sites = [*_table_sites(model)]
        numbers = {token: place for place, token in enumerate(kept)}
        renumber_network(model.net, numbers, rows)
        folder = self.folder(model, aids.scratch)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        copy_configuration(model.folder, folder)
        renumber_files(folder, trimmed(document, numbers), numbers, rows)
        for tower, site in sites:
            width = site.weight.shape[1]
            if len(kept) == rows:
                yield Note(site.name, self.name, tower, 32.0, skipped=f"all of its {rows} tokens are needed")
                continue
            change = f"{rows} × {width} → {len(kept)} × {width}"
            yield Note(site.name, self.name, tower, 32.0, size_bytes=4 * len(kept) * width, change=change)

    def _wanted(self, model: Model, document: Mapping[str, Any], batches: Sequence[Batch], rows: int) -> set[int]:
        """Tokens that the settings ask for."""
        found = self._seen(batches, rows) if self.corpus else set()
        with ExitStack() as kept:
            tokenizer = open_tokenizer(tokenizer_json(model.folder, kept))
        tokenizer.no_truncation()
        found |= {token for text in self._texts() for token in tokenizer.encode(text).ids}
        return found | (self._written(tokenizer, document) if self.languages else set())

    def _seen(self, batches: Sequence[Batch], rows: int) -> set[int]:
        """Tokens of calibration data, frequent ones."""
        counts = torch.zeros(rows, dtype=torch.int64)
        for batch in batches:
            for name, ids in batch.items():
                if name.endswith("input_ids"):
                    counts += torch.bincount(ids.flatten(), minlength=rows)
        order = counts.argsort(descending=True, stable=True)
        before = counts[order].cumsum(0) - counts[order]
        enough = (before < self.coverage * counts.sum()) & (counts[order] >= self.least)
        return set(order[enough].tolist())

    def _written(self, tokenizer: SafeTokenizer, document: Mapping[str, Any]) -> set[int]:
        """Tokens in the scripts of the languages."""
        scripts = scripts_of(self.languages)
        suffix = str(document["model"].get("end_of_word_suffix") or "")
        found = set()
        for number in pieces_of(document).values():
            text = tokenizer.decode([number], skip_special_tokens=False)
            text = text.removesuffix(suffix) if suffix else text
            if scripts != LATIN if UNFINISHED in text else is_written_in(text, scripts):
                found.add(number)
        return found

    def inputs_key(self, engine: Engine | None) -> str:
        """The content of the file of texts."""
        return hashlib.sha256("\n".join(self._texts()).encode()).hexdigest() if self.file else ""

    def _texts(self) -> Iterable[str]:
        """The lines of the file."""
        if not self.file:
            return ()
        try:
            return Path(self.file).expanduser().read_text(encoding="utf8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"vocab: cannot read {self.file}", hint="give a text file in UTF-8") from error


def _document(model: Model) -> dict[str, Any]:
    """The content of a checkpoint's tokenizer.json."""
    with ExitStack() as kept:
        return read_json(tokenizer_json(model.folder, kept))


def _table_sites(model: Model) -> Iterator[tuple[str, Site]]:
    """Sites over the vocabulary, with their towers."""
    weights = {id(table.weight) for table in vocabulary_tables(model.net)}
    for tower in model.towers:
        for site in tower.sites.values():
            if id(site.module._parameters.get("weight")) in weights:
                yield tower.name, site
