"""What a model answers to items: words or labels, one embedding per encoder, hidden states of its blocks.

The runs that give them are found from the model, and so is whether items may go through a run together: it is tried.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from penjing.calibrate.proxy import WORDS, embedding_of, speaking_run
from penjing.errors import DataError
from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.teach.frozen import Kept
from penjing.teach.joining import Signature, Watched, firsts, grouped, joined, kind_of, shape_of
from penjing.values import Tell

AGREE = 1e-3
"""Largest relative difference between items that went together and one by one."""
SPOKEN = "words"
POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda hidden: hidden.mean(1),
    "cls": lambda hidden: hidden[:, 0],
    "max": lambda hidden: hidden.amax(1),
}
"""What an encoder of texts makes of the vectors of its tokens (items, tokens, width), none of which is padding here."""

Layers = Mapping[str, Sequence[int]]
"""Blocks whose outputs are wanted, by tower."""


@dataclass(eq=False, slots=True)
class Answer:
    """Of one item: logits (rows, classes), embeddings (width,) by tower, hidden states (tokens, width) by tower and
    block.
    """

    logits: Tensor | None = None
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    hidden: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def float(self) -> Answer:
        """The same in float32."""
        embeddings = {name: value.float() for name, value in self.embeddings.items()}
        hidden = {key: value.float() for key, value in self.hidden.items()}
        return Answer(None if self.logits is None else self.logits.float(), embeddings, hidden)


@dataclass(eq=False, slots=True)
class Run:
    """One way through a model. `towers` are those whose hidden states are taken on the way."""

    name: str
    call: Callable[[Batch], Any]
    towers: tuple[Tower, ...]
    together: bool = True
    pads: bool = True
    reads: dict[Signature, tuple[str, ...] | None] = field(default_factory=dict)
    pooled: Callable[[Tensor], Tensor] | None = None
    """What makes one vector of an item's tokens, where the run gives none itself."""
    lacks: Callable[[Batch], bool] = lambda item: False
    """Whether an item has not all that the model reads, so that it may be none for this run."""

    def keys(self, item: Batch) -> tuple[str, ...] | None:
        """What the run reads of such an item; found out once, by running it. None where that lacks what it needs."""
        kind = kind_of(item)
        if kind not in self.reads:
            watched = Watched(item)
            try:
                with torch.no_grad():
                    self.call(watched)
                self.reads[kind] = tuple(key for key in item if key in watched.read)
            except Exception:  # whatever a network says of inputs that are missing
                if not self.lacks(item):
                    raise
                self.reads[kind] = None
        return self.reads[kind]

    def padded(self, item: Batch) -> frozenset[str]:
        """Inputs that may get zeros behind: the words that are answered word by word, and what goes with them."""
        keys = self.keys(item) or ()
        key = next((key for key in WORDS if key in keys), None)
        if self.name != SPOKEN or not self.pads or key is None:
            return frozenset()
        return frozenset(other for other in keys if item[other].shape == item[key].shape)

    def shape(self, item: Batch) -> Signature:
        """What two items must have in common to go together."""
        return shape_of(item, self.keys(item) or (), self.padded(item))


class Answers:
    """Asks a model. `layers` are the blocks whose outputs are wanted, `embeds` whether embeddings are."""

    def __init__(self, model: Model, sample: Sequence[Batch], layers: Layers, embeds: bool) -> None:
        self._layers = layers
        self._kept: Kept | None = None
        self.runs = [*_runs(model, [sample[place] for place in firsts(sample)], embeds)]
        if not self.runs:
            raise DataError(
                f"{model.name} answers nothing to these data: no words, no labels, no embedding",
                hint="these are what can be taught; give data of every modality that it reads",
            )
        for run in self.runs:
            mine = [item for item in sample if run.keys(item) is not None]
            run.together = run.pads = self._agree(run, mine)
            if not run.together:
                run.together = self._agree(run, mine)

    @torch.no_grad()
    def lean_on(self, kept: Kept, items: Sequence[Batch], tell: Tell) -> None:
        """Run once what does not learn, if answers stay the same: others may read blocks in between."""
        before = self.ask(items[:1]) if kept.towers else []
        self._kept = kept
        kept.fill(self.ask, items, tell)
        if kept and not _alike(before[0], self.ask(items[:1])[0]):
            kept.forget()

    def keep(self, kept: Kept, items: Sequence[Batch]) -> Iterator[Answer]:
        """Answers to every item, asked alone; what passes through towers of `kept` stays there."""
        self._kept = kept
        with kept.in_place():
            yield from kept.each(self.ask, items)
        self._kept = None

    @property
    def speaks(self) -> bool:
        """Whether there are logits."""
        return any(run.name == SPOKEN for run in self.runs)

    @property
    def embedded(self) -> tuple[str, ...]:
        """Towers that give an embedding."""
        return tuple(run.name for run in self.runs if run.name != SPOKEN)

    def shapes(self, item: Batch) -> tuple[Signature, Signature]:
        """Items take the first run together where the first is equal, and every run where both are."""
        found = tuple(run.shape(item) for run in self.runs)
        return found[:1], found

    def ask(self, items: Sequence[Batch], embedded: int | None = None) -> list[Answer]:
        """What the model answers to each; embeddings of the first so many only, where that is given."""
        found = [Answer() for _ in items]
        for run in self.runs:
            count = len(items) if run.name == SPOKEN or embedded is None else embedded
            mine = [place for place, item in enumerate(items[:count]) if run.keys(item) is not None]
            shapes = [run.shape(items[place]) if run.together else place for place in mine]
            for group in grouped(shapes):  # type: ignore[arg-type]
                places = [mine[place] for place in group]
                self._take(run, [items[place] for place in places], [found[place] for place in places])
        return found

    def _take(self, run: Run, items: Sequence[Batch], found: Sequence[Answer]) -> None:
        """One run of items of one shape."""
        keys, padded = run.keys(items[0]) or (), run.padded(items[0])
        batch = items[0] if len(items) == 1 else joined(items, keys, padded)
        lengths = [_words(item, padded) for item in items]
        with _listening(run.towers, self._layers) as heard, self._passing(items):
            output = run.call(batch)
        if run.name == SPOKEN:
            logits = output if isinstance(output, Tensor) else output.logits
            for answer, own, length in zip(found, _parted(logits, len(items)), lengths, strict=True):
                answer.logits = own[:length] if length else own
        else:
            embedded = embedding_of(output, len(items)) if run.pooled is None else run.pooled(output)
            assert embedded is not None
            for answer, own in zip(found, embedded, strict=True):
                answer.embeddings[run.name] = own
        longest = max(lengths)
        for (name, place), hidden in heard.items():
            if (len(hidden) != len(items) and len(items) > 1) or hidden.dim() not in (3, 4):
                continue
            tokens = hidden if hidden.dim() == 3 else hidden.flatten(2).transpose(1, 2)
            tokens = tokens.flatten(0, 1)[None] if len(items) == 1 else tokens  # an item may be a batch of its own
            for answer, own, length in zip(found, tokens, lengths, strict=True):
                answer.hidden[name, place] = own[:length] if len(own) == longest and length else own

    def _passing(self, items: Sequence[Batch]) -> contextlib.AbstractContextManager[None]:
        """Say whose turn it is to what is kept."""
        return nullcontext() if self._kept is None else self._kept.asked(items)

    @torch.no_grad()
    def _agree(self, run: Run, sample: Sequence[Batch]) -> bool:
        """Whether items that go together answer as they do one by one; an item alone of its shape goes twice."""
        for places in grouped([run.shape(item) for item in sample]):
            items = [sample[place] for place in (places if len(places) > 1 else places * 2)[:3]]
            together, apart = ([Answer() for _ in items] for _ in range(2))
            with contextlib.suppress(Exception):  # whatever a network says that takes one item only
                self._take(run, items, together)
                for item, answer in zip(items, apart, strict=True):
                    self._take(run, [item], [answer])
                return all(_alike(one, other) for one, other in zip(together, apart, strict=True))
            return False
        return True


def _runs(model: Model, items: Sequence[Batch], embeds: bool) -> Iterator[Run]:
    """The runs of a model that answer to any of the items, each tower listened to in one of them."""
    lacks = partial(_lacks, model)
    encoders = [tower for tower in model.towers if tower.role == "encoder" and tower.blocks]
    with torch.no_grad():
        alone = [tower for tower in encoders if embeds and any(_embeds(tower, item, lacks) for item in items)]
        speak = next((run for item in items if (run := speaking_run(model, item)) is not None), None)
    if speak is not None:
        rest = tuple(tower for tower in model.towers if tower.blocks and tower not in alone)
        yield Run(SPOKEN, speak, rest, lacks=lacks)
    for tower in alone:
        yield Run(tower.name, tower.run, (tower,), lacks=lacks)
    if speak is None and not alone and embeds:
        pooled = POOLINGS.get(model.settings.get("pooling", ""))
        yield from (Run(tower.name, tower.run, (tower,), pooled=pooled, lacks=lacks) for tower in encoders if pooled)


def _embeds(tower: Tower, item: Batch, lacks: Callable[[Batch], bool]) -> bool:
    try:
        return embedding_of(tower.run(item), 1) is not None
    except Exception:  # whatever a network says of inputs that are missing; of any others it is right
        if not lacks(item):
            raise
        return False


def _lacks(model: Model, item: Batch) -> bool:
    """Whether an item has not all inputs that the model is made for."""
    return bool(model.family.probe(model.net, 0).keys() - item.keys())


def _words(item: Batch, padded: frozenset[str]) -> int:
    """How many words an item has where they are padded, else 0."""
    return int(item[min(padded)].shape[-1]) if padded else 0


def _parted(logits: Tensor, count: int) -> Sequence[Tensor]:
    """Logits (rows, classes) of each item."""
    if count == 1:
        return [logits.flatten(0, -2)]
    if len(logits) != count:
        raise ValueError(f"{len(logits)} answers to {count} items")
    return [own if own.dim() == 2 else own[None] for own in logits]


def _alike(one: Answer, other: Answer) -> bool:
    pairs = [(one.embeddings[name], value) for name, value in other.embeddings.items()]
    if one.logits is not None and other.logits is not None:
        pairs.append((one.logits, other.logits))
    return all(
        left.shape == right.shape and float((left - right).abs().max()) <= AGREE * float(right.abs().max())
        for left, right in pairs
    )


@contextlib.contextmanager
def _listening(towers: Sequence[Tower], layers: Layers) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Outputs of the wanted blocks of these towers, while this is open; of a block that runs twice, the last."""
    heard: dict[tuple[str, int], Tensor] = {}

    def hear(key: tuple[str, int], output: Any) -> None:
        first = output if isinstance(output, Tensor) else next(iter(output), None)
        if isinstance(first, Tensor) and first.is_floating_point():
            heard[key] = first

    def watch(block: nn.Module, key: tuple[str, int]) -> Any:
        return block.register_forward_hook(lambda module, args, output: hear(key, output))

    with contextlib.ExitStack() as hooks:
        for tower in towers:
            for place in layers.get(tower.name, ()):
                hooks.callback(watch(tower.blocks[place], (tower.name, place)).remove)
        yield heard
