"""Small tokenizers of every kind that is trimmed, learned from a few sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "the quick brown fox jumps over the lazy dog and the dog sleeps",
    "a river runs through the quiet valley while the wind moves the trees",
    "quickly, quietly, the foxes and the dogs ran over the running river",
    "Der schnelle Fuchs springt über den faulen Hund, größer und schöner",
    "Быстрая лисица прыгает через ленивую собаку у реки",
    "numbers 1 2 3 10 100 2024 and signs ! ? . , ; : - _ ( ) and smiles",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def byte_bpe() -> Tokenizer:
    """GPT-2's kind: any text is spelled in bytes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*SPECIAL], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


def ending_bpe() -> Tokenizer:
    """CLIP's kind: words close with a suffix."""
    made = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=[*SPECIAL], end_of_word_suffix="</w>")
    )
    return made


def wordpiece() -> Tokenizer:
    """BERT's kind, with its own tokens around a text."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=[*SPECIAL]))
    made.post_processor = processors.BertProcessing(
        ("[SEP]", made.token_to_id("[SEP]")), ("[CLS]", made.token_to_id("[CLS]"))
    )
    return made


def unigram() -> Tokenizer:
    """SentencePiece's kind."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=220, special_tokens=[*SPECIAL], unk_token="[UNK]")
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_bpe": byte_bpe,
    "ending_bpe": ending_bpe,
    "wordpiece": wordpiece,
    "unigram": unigram,
}


def wrapped(made: Tokenizer) -> Any:
    """A tokenizer as transformers saves it."""
    import transformers

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
