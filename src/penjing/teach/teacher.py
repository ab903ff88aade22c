"""The teacher: asked once, its answers kept on disk, so that a step of training costs the student's share alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.teach.answers import Answer, Answers
from penjing.teach.cache import AnswerCache, Parts, check_room, stored_bytes
from penjing.teach.frozen import Kept, same_towers
from penjing.teach.joining import spread
from penjing.tensor.distill import best_of
from penjing.values import Tell, silent

FORMAT = 1
MOST_CLASSES = 2048
"""Up to so many classes, logits are kept whole; of more, the largest `BEST` of every row."""
BEST = 64
AT_ONCE = 16
SAMPLE = 8
"""Items that the size of all answers is estimated from."""
ANSWERS = "what the teacher answers"

LayerMap = dict[str, tuple[int, ...]]
"""By tower, the teacher's block for each of the student's."""


def identity(model: Model) -> str:
    """What the answers of a model depend on: its weights."""
    found = model.source.get("sha256")
    return str(found) if found else weights_key(model)


def weights_key(model: Model) -> str:
    """A hash of all tensors of a network."""
    return tensors_key(dict(model.net.state_dict()))


def tensors_key(*batches: Batch) -> str:
    """A hash of names, shapes and values."""
    digest = hashlib.blake2b(digest_size=12)
    for batch in batches:
        for name, value in batch.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().numpy().tobytes())
    return digest.hexdigest()


def sample_of(items: Sequence[Batch]) -> Sequence[Batch]:
    """A few items, of every sort."""
    return spread(items, SAMPLE)


class Teacher:
    """Answers to items by their numbers. `opened` is called only where the folder does not hold them yet.

    `layers` maps blocks of the student to those of the teacher; `key` says which teacher it is. Of an item there are
    `words` (rows, classes), its logits, or `best` and `places` (rows, k) and `total` (rows,) in their place
    (`soft_loss_of_best`); `embedding/TOWER` (width,); `hidden/TOWER/BLOCK` (tokens, width) by the student's block.
    """

    def __init__(
        self, opened: Callable[[], Model], key: str, layers: LayerMap, embeds: bool, temperature: float
    ) -> None:
        self._opened, self._key, self._layers = opened, key, layers
        self._embeds, self._temperature = embeds, temperature
        self.asked = 0
        """Items that a teacher was run for; none where all was kept."""
        self.heard = Kept(())

    def answers(
        self, items: Sequence[Batch], folder: Path, tell: Tell = silent, frozen: Sequence[Tower] = ()
    ) -> AnswerCache:
        """What the teacher says of the items, from the folder or computed now and kept there.

        What those of its towers give that are the same as `frozen` ones stays in `heard`, if they are run.
        """
        choices = f"{FORMAT} {self._key} {sorted(self._layers.items())} {self._embeds} {self._temperature}"
        digest = hashlib.sha256(f"{choices} {tensors_key(*items)}".encode()).hexdigest()[:16]
        cache = AnswerCache(folder / f"teacher-{digest}")
        if not cache.is_whole:
            model = self._opened()
            self.heard = Kept(same_towers(model, frozen))
            first = cache.answered - cache.answered % AT_ONCE  # those that went together do so again
            with torch.no_grad():
                asked = Answers(model, sample_of(items), self._layers, self._embeds)
                check_room(folder, int((len(items) - first) * self._item_bytes(asked, sample_of(items))), ANSWERS)
                cache.fill(self._ask(asked, items, first, tell), first)
            if first:
                self.heard.forget()  # it was not heard from the start
        return cache

    @torch.no_grad()
    def item_bytes(self, items: Sequence[Batch]) -> float:
        """Bytes on disk that the answers to such an item take on average; a few are asked."""
        sample = sample_of(items)
        return self._item_bytes(Answers(self._opened(), sample, self._layers, self._embeds), sample)

    def _item_bytes(self, asked: Answers, sample: Sequence[Batch]) -> float:
        return sum(stored_bytes(self.parts(answer)) for answer in asked.ask(sample)) / len(sample)

    def _ask(self, asked: Answers, items: Sequence[Batch], first: int, tell: Tell) -> Iterator[Parts]:
        """Answers to the items from a first one on."""
        parts = [items[place : place + AT_ONCE] for place in range(first, len(items), AT_ONCE)]
        together = (answer for some in parts for answer in asked.ask(some))
        answers = asked.keep(self.heard, items[first:]) if self.heard.towers else together
        for answer in answers:
            tell("ask the teacher", first + self.asked, len(items))
            self.asked += 1
            yield self.parts(answer)

    def parts(self, answer: Answer) -> Parts:
        """An answer as it is kept; hidden states under the number of the student's block."""
        found: Parts = {f"embedding/{name}": value for name, value in answer.embeddings.items()}
        if answer.logits is not None and answer.logits.shape[1] <= MOST_CLASSES:
            found["words"] = answer.logits
        elif answer.logits is not None:
            parts = best_of(answer.logits, BEST, self._temperature)
            found |= dict(zip(("best", "places", "total"), parts, strict=True))
        for tower, places in self._layers.items():
            for block, place in enumerate(places):
                if (tower, place) in answer.hidden:
                    found[f"hidden/{tower}/{block}"] = answer.hidden[tower, place]
        return found
