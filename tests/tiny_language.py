"""A tiny language model with its tokenizer, and sentences for it to read."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SENTENCE = (
    "a an the one two red blue green small large old new cat dog bird tree house road river sky sees likes finds "
    "makes takes and or but then when on in under over near far is was not no yes it they we you all some"
)
WORDS = tuple(SENTENCE.split())
SPECIAL = ("[PAD]", "<s>", "</s>", "[UNK]")
CONTEXT = 64


def tokenizer() -> Any:
    """One token a word."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    ids = {word: place for place, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="_")
    made.decoder = decoders.Metaspace(replacement="_")
    made.add_special_tokens([*SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", bos_token="<s>", eos_token="</s>"
    )


def save_language(folder: Path) -> Path:
    """A Llama of random weights whose head is its table, with two query heads to one key head."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_texts(path: Path, count: int = 30) -> Path:
    """Sentences of arbitrary words, one a line."""
    dice = random.Random(0)
    lines = [{"text": " ".join(dice.choices(WORDS, k=dice.randint(20, 90)))} for _ in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
