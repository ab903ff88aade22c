"""What the seedling is trained by: comparing (contrastive, all pairs of modalities) and writing (all tasks).

Every term is a mean over its own items or tokens and enters with the weight below, so that long captions do not drown
short answers. Captions and answers count twice: they are what takes longest to learn; comparing is learned soonest and
hinders the rest (see `Schedule`), so it counts least. Two terms are scaffolds: through the decoder's own head every
token of a picture should name the thing that it shows, its place and its number, and every token of a sound the word it
is part of (CTC). Without them the decoder takes long to find out where to look and when to listen: of questions for a
place 17% were answered right before places were named, although colours were at 99%.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, ctc_loss, log_softmax

from penjing.seedling.batches import Sounds, Texts, TrainingBatch, Written
from penjing.seedling.model import SeedlingModel, unit
from penjing.seedling.towers import Features
from penjing.train.launch import gathered, mean_over_all

WEIGHTS = {
    "image-text": 0.2, "image-audio": 0.2, "text-audio": 0.2,
    "things": 1.0, "alignment": 1.0,
    "caption": 2.0, "answer": 2.0, "spoken answer": 1.5, "transcript": 1.0,
}  # fmt: skip


def contrastive(first: Tensor, second: Tensor, first_group: Tensor, second_group: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv:2103.00020): each of `first` (m, width) should be nearest to its own of `second`
    (n, width). Both are of unit length; items of one group belong together, and of several such any is right.
    """
    with torch.autocast(first.device.type, enabled=False):  # cosines near 1 differ by less than bfloat16 can tell
        cosine = first.float() @ second.float().T * scale
    same = first_group[:, None] == second_group[None, :]
    return (_nearest(cosine, same) + _nearest(cosine.T, same.T)) / 2


def _nearest(scores: Tensor, same: Tensor) -> Tensor:
    """Mean of −log P(an item of the same group), over the rows that have one."""
    there = same.any(1)
    right = scores.masked_fill(~same, -torch.inf)[there].logsumexp(1)
    return (scores[there].logsumexp(1) - right).mean()


class Objective(nn.Module):
    """The model, trained: forward gives every term of the loss of a batch."""

    def __init__(self, model: SeedlingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """One scalar per name in WEIGHTS, as far as the batch teaches it."""
        terms: dict[str, Tensor] = {}
        image = told = asked = None
        if batch.looks:
            squares = self.model.image.look(batch.looks.pixel_values)
            image = self.model.image.merged(squares)
            terms["things"] = self._named(squares, batch.looks.things)
        if batch.sounds:
            told, asked = (self.model.hear(part.values, part.mask) for part in (batch.sounds.told, batch.sounds.asked))
            terms["alignment"] = self._aligned_both(told, asked, batch.sounds)
        if image and batch.texts:
            terms |= self._read(image, batch.texts)
        if image and told and asked and batch.sounds and batch.texts:
            terms |= self._heard(image, told, asked, batch.sounds)
        if image and batch.texts:
            terms |= self._compared(image, told, batch.texts, batch.sounds)
        return terms

    def _read(self, image: Features, texts: Texts) -> dict[str, Tensor]:
        """Captions, and answers to typed questions."""
        typed = self.model.read(texts.questions.values, texts.questions.mask)
        return {
            "caption": self._write([image], texts.caption_words),
            "answer": self._write([_of(image, texts.question_of), typed], texts.answers),
        }

    def _heard(self, image: Features, told: Features, asked: Features, sounds: Sounds) -> dict[str, Tensor]:
        """Answers to spoken questions, and transcripts: of captions and of questions, which are padded apart."""
        words = self._write([told], sounds.told_words) + self._write([asked], sounds.asked_words)
        return {
            "spoken answer": self._write([_of(image, sounds.asked_of), asked], sounds.answers),
            "transcript": words / 2,
        }

    def _aligned_both(self, told: Features, asked: Features, sounds: Sounds) -> Tensor:
        return (self._aligned(told, sounds.told_words) + self._aligned(asked, sounds.asked_words)) / 2

    def _compared(
        self, image: Features, told: Features | None, texts: Texts, sounds: Sounds | None
    ) -> dict[str, Tensor]:
        """All pairs of the modalities there are."""
        text = self.model.read(texts.captions.values, texts.captions.mask)
        scale = self.model.log_scale.exp().clamp(max=100)
        groups = gathered(texts.caption_group)
        image_unit, text_unit = (gathered(unit(one.embedding)) for one in (image, text))
        terms = {"image-text": contrastive(image_unit, text_unit, groups, groups, scale)}
        if told and sounds:
            heard, told_unit = gathered(texts.caption_group[sounds.told_of]), gathered(unit(told.embedding))
            terms["image-audio"] = contrastive(image_unit, told_unit, groups, heard, scale)
            terms["text-audio"] = contrastive(text_unit, told_unit, groups, heard, scale)
        return terms

    def _write(self, features: list[Features], written: Written) -> Tensor:
        memory, mask = self.model.fuse(features)
        logits, _ = self.model.decoder(written.input_ids, memory, mask)
        summed = cross_entropy(logits.flatten(0, 1), written.labels.flatten(), reduction="sum")
        return mean_over_all(summed, (written.labels >= 0).sum())

    def _named(self, squares: Tensor, things: Tensor) -> Tensor:
        """Cross-entropy of the words of what each square shows, `things` (batch, squares, words), all equally right."""
        logs = log_softmax(self.model.decoder.head(squares).float(), -1)
        return mean_over_all(-logs.gather(2, things).sum(), torch.tensor(things.numel()))

    def _aligned(self, heard: Features, written: Written) -> Tensor:
        """Connectionist temporal classification (Graves et al. 2006) of the audio tokens; padding is the blank."""
        logs = log_softmax(self.model.decoder.head(heard.tokens).float(), -1).transpose(0, 1)
        assert heard.mask is not None
        words = written.labels.masked_fill(written.labels < 0, self.model.config.pad_token_id)
        lengths = (written.labels >= 0).sum(1) - 1
        pad = self.model.config.pad_token_id
        summed = ctc_loss(logs, words, heard.mask.sum(1), lengths, pad, "sum", zero_infinity=True)
        return mean_over_all(summed, lengths.sum())


def _of(features: Features, rows: Tensor) -> Features:
    """The features of these rows."""
    return Features(features.tokens[rows], None, features.embedding[rows])


def total(terms: dict[str, Tensor]) -> Tensor:
    """The weighted sum."""
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
