"""What a model says of data, in a form that any two models of one task can be compared by: the task's proxy.

A model with a decoder says words, a classifier labels; encoders of several modalities say which of their items belong
together, each of a few against all. These are distributions, so a change is a divergence. Of a model that says none of
it, outputs themselves are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from penjing.errors import DataError
from penjing.models.attempt import attempt
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.outputs import float_tensors
from penjing.models.tower import LABELS, Batch, Tower

TOGETHER = 8
"""Items that are told apart from one another."""
MOST_ITEMS = 64
"""Items that losses are measured on; gradients of gates are taken on twice as many."""
SHARPNESS = 20.0
"""What a cosine is multiplied by before the softmax: published encoders learn 14 to 100."""
WORDS = ("decoder_input_ids", "input_ids")

Labels = Literal["data", "own"]


@dataclass(frozen=True, eq=False, slots=True)
class Verdict:
    """Logits (n, classes), and the right classes (n,) where the data say. `is_outputs`: values, no logits, (1, n)."""

    logits: Tensor
    targets: Tensor | None = None
    is_outputs: bool = False

    def likelihood(self, labels: Labels, source: torch.Generator) -> Tensor:
        """Mean log-probability of the right classes, or of classes drawn from what the model itself says.

        The squared gradient with drawn ones is the Fisher information: how much the distribution changes. Of outputs, a
        random projection stands for it.
        """
        if self.is_outputs:
            direction = torch.randn(self.logits.shape, generator=source)
            projected: Tensor = (self.logits * direction).sum() / self.logits.detach().norm().clamp_min(1e-12)
            return projected
        spread = log_softmax(self.logits.float(), -1)
        chosen = self.targets if labels == "data" else None
        if chosen is None:
            chosen = torch.multinomial(spread.detach().exp(), 1, generator=source)[:, 0]
        found: Tensor = spread.gather(1, chosen[:, None]).mean()
        return found

    def lost(self, now: Verdict) -> float:
        """Mean KL(this ‖ now) over rows, in nats; of outputs, the squared relative error."""
        if self.is_outputs:
            return float((self.logits - now.logits).square().sum() / self.logits.square().sum().clamp_min(1e-12))
        before, after = (log_softmax(one.logits.float(), -1) for one in (self, now))
        return float((before.exp() * (before - after)).sum(-1).mean())


class Proxy:
    """How much of what a model says of some data is lost by now, measured against what it said at first."""

    def __init__(self, model: Model, batches: Sequence[Batch]) -> None:
        self._model, self._chunks = model, [*chunks(spread(batches, MOST_ITEMS))]
        self._said = [*self._verdicts()]

    def lost(self) -> float:
        """Mean loss over the verdicts; 0 while nothing changed."""
        losses = [one.lost(now) for one, now in zip(self._said, self._verdicts(), strict=True)]
        return sum(losses) / len(losses)

    @torch.no_grad()
    def _verdicts(self) -> Iterator[Verdict]:
        for chunk in self._chunks:
            yield from verdicts(self._model, chunk)


def spread(batches: Sequence[Batch], most: int) -> Sequence[Batch]:
    """So many of the batches, evenly spaced: rows of a task lie together."""
    return batches[:: -(-len(batches) // most)] if batches else batches


def chunks(batches: Sequence[Batch]) -> Iterator[Sequence[Batch]]:
    """A few items at a time."""
    for first in range(0, len(batches), TOGETHER):
        yield batches[first : first + TOGETHER]


def verdicts(model: Model, chunk: Sequence[Batch]) -> list[Verdict]:
    """What a model says of a few items."""
    found = [*_matches(model, chunk)]
    for batch in chunk:
        logits = _logits(model, batch)
        if logits is not None:
            found.append(worded(logits, batch))
    found = found or [Verdict(values, is_outputs=True) for values in _outputs(model, chunk)]
    if not found:
        raise DataError(
            "no part of the model answers to these data", hint="give data of every modality the model reads"
        )
    return found


def _matches(model: Model, chunk: Sequence[Batch]) -> Iterator[Verdict]:
    """Which items of one modality belong to which of another, both ways: (items, items) each."""
    embeddings: list[tuple[str, Tensor]] = []
    for tower in (tower for tower in model.towers if tower.role == "encoder"):
        made = [_embedding(model, tower, batch) for batch in chunk]
        if len(chunk) > 1 and all(one is not None for one in made):
            embeddings.append((tower.modality, normalize(torch.cat([one for one in made if one is not None]), dim=-1)))
    for (one, left), (other, right) in combinations(embeddings, 2):
        if one != other and left.shape == right.shape:
            scores, places = SHARPNESS * left @ right.T, torch.arange(len(left))
            yield from (Verdict(scores, places), Verdict(scores.T, places))


def _embedding(model: Model, tower: Tower, batch: Batch) -> Tensor | None:
    """The one vector (1, width) among what a tower gives; None where there is none, or the batch lacks its input."""
    output = attempt(model, f"tower {tower.name}", tower.run, batch)
    return None if output is None else embedding_of(output, 1)


def embedding_of(output: Any, items: int) -> Tensor | None:
    """One vector per item (items, width) among what an encoder gives, if there is one."""
    parts = (output,) if isinstance(output, Tensor) else tuple(output)
    return next((part for part in parts if isinstance(part, Tensor) and part.dim() == 2 and len(part) == items), None)


def _logits(model: Model, batch: Batch) -> Tensor | None:
    """What the decoder, or the whole network, says word by word (words, vocabulary), or of the item (1, labels)."""
    for name, run in _speakers(model):
        logits = _said(model, name, run, batch)
        if logits is not None:
            return logits.flatten(0, -2)
    return None


def speaking_run(model: Model, batch: Batch) -> Callable[[Batch], Any] | None:
    """The run that says words or labels of such a batch: it gives logits, or something that has them."""
    return next((run for name, run in _speakers(model) if _said(model, name, run, batch) is not None), None)


def _speakers(model: Model) -> Iterator[tuple[str, Callable[[Batch], Any]]]:
    """Runs that may say something, with their names: of decoders, of the whole network."""
    for tower in model.towers:
        if tower.role == "decoder" and tower.blocks:
            yield f"tower {tower.name}", tower.run
    yield "the network", partial(call, model.net)


def _said(model: Model, name: str, run: Callable[[Batch], Any], batch: Batch) -> Tensor | None:
    output = attempt(model, name, run, batch)
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) and logits.dim() in (2, 3) else None


def worded(logits: Tensor, batch: Batch) -> Verdict:
    """Each word is to say the next one, where the batch holds the words that were read, or labels of each row."""
    if len(batch.get(LABELS, ())) == len(logits):
        return Verdict(logits, batch[LABELS])
    words = words_of(batch, len(logits))
    return Verdict(logits) if words is None else Verdict(logits[:-1], words[1:])


def words_of(batch: Batch, rows: int) -> Tensor | None:
    """The words (rows,) that so many rows of logits were read from; None where the batch does not hold them."""
    found = (batch[key].flatten() for key in WORDS if key in batch)
    return next((words for words in found if len(words) == rows > 1), None)


def _outputs(model: Model, chunk: Sequence[Batch]) -> Iterator[Tensor]:
    """Outputs of the towers that have blocks, as they are."""
    for batch in chunk:
        for tower in (tower for tower in model.towers if tower.blocks):
            output = attempt(model, f"tower {tower.name}", tower.run, batch)
            parts = [] if output is None else [*float_tensors(output)]
            if parts:
                yield torch.cat([part.flatten() for part in parts])[None]
