"""The seedling's word pieces: a byte-level BPE learned from its own sentences; any other text still has pieces."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from penjing.scenes.captions import caption
from penjing.scenes.questions import questions, reworded
from penjing.scenes.scene import imagine
from penjing.seedling.configuration import TASKS

PAD, END = "<|pad|>", "<|end|>"
SPECIAL = (PAD, END, *(f"<|{task}|>" for task in TASKS))
MOST_PIECES = 512
SCENES_READ = 4000


def learn_tokenizer() -> Tokenizer:
    """Learn the pieces. Texts are read in lower case, without punctuation but the comma, with single blanks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[?!.;:\"]"), " "),
         normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_PIECES,
        min_frequency=20,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return tokenizer


def _sentences() -> Iterator[str]:
    """Captions, questions in all their wordings, and answers."""
    import random

    for seed in range(SCENES_READ):
        scene, dice = imagine(seed), random.Random(seed)
        yield caption(scene)
        for asked in islice(questions(scene, 8, seed), 8):
            yield asked.text
            yield reworded(asked.text, dice)
            yield asked.answer
