"""Text that goes on: a language model with its cache, token by token. Knows the task, no family."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.data.chat import Message, written_out
from penjing.data.text import check_plain, open_tokenizer, special_tokens
from penjing.errors import DataError
from penjing.runtimes.decoding import Decoder, DecoderPool, written_tokens
from penjing.runtimes.parts import Parts
from penjing.runtimes.pieces import pieces_of, until
from penjing.runtimes.sampling import Style
from penjing.values import FloatArray

GRAPH = "model"
LONG = Style(256)
"""How a text is written on where nothing else is said."""


class LanguageRunner:
    """Writes on from a prompt, and gives the logits that perplexity is computed from."""

    task = "causal-lm"

    def __init__(self, decoder: Decoder, settings: Mapping[str, Any], tokenizer_path: Path) -> None:
        self.settings = settings
        self.context_tokens: int = settings["context_tokens"]
        self._decoders = DecoderPool(decoder)
        self._timed: Decoder | None = None
        self._words = open_tokenizer(tokenizer_path)
        self._words.no_truncation()  # whoever saved it may have cut and padded last
        self._words.no_padding()
        self._ends = frozenset(settings["generation"]["eos"])
        self._own = special_tokens(self._words)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, with those that the model's tokenizer puts around it."""
        return self._encoded(text, special=True)

    def prompt_tokens(self, prompt: str | Sequence[Message]) -> list[int]:
        """The tokens of a text, or of a conversation as the chat template writes it."""
        return self.tokens(prompt) if isinstance(prompt, str) else self._conversation(prompt)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without any around it."""
        return len(self._encoded(text, special=False))

    def logits(self, tokens: Sequence[int]) -> FloatArray:
        """Logits (tokens, vocabulary) of what follows each of these tokens, read from the start."""
        with self._decoders.started({}) as decoder:
            return decoder.read(tokens).copy()  # OpenVINO returns memory that its next run overwrites

    def generate(self, prompt: str | Sequence[Message], style: Style = LONG) -> Generator[str, None, bool]:
        """Write on from a text, or answer in a conversation; yields what is written piece by piece.

        Writing ends where the model ends, or where the style says; the generator returns whether it was cut at the most
        tokens that there may be, of the style or of the context.
        """
        tokens = self.prompt_tokens(prompt)
        check_prompt(tokens, self.context_tokens)
        limit = min(style.max_tokens, self.context_tokens - len(tokens))
        with self._decoders.started({}) as decoder:
            written = written_tokens(decoder, tokens, self._ends, limit, style.sampling.picker())
            return (yield from until(style.stop, pieces_of(self._words, written)))

    def _conversation(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation, as the chat template writes it.

        Tokens of the model's own are the template's to write: a message that holds one could speak for others.
        """
        chat = self.settings.get("chat")
        for message in messages:
            check_plain(message.text, self._own, "a message")
        text = written_out(messages, chat)
        return self._encoded(text, special=bool(chat and chat["special"]))

    def _encoded(self, text: str, *, special: bool) -> list[int]:
        """Tokens; as a batch, which lets other threads run meanwhile: one text alone stops all of them."""
        ids: list[int] = self._words.encode_batch([text], add_special_tokens=special)[0].ids
        return ids

    def begin(self, tokens: Sequence[int]) -> None:
        """Read a context, so that `write_one` can be timed."""
        self._timed = self._timed or self._decoders.take()
        self._timed.start({})
        self._timed.step(tokens)

    def write_one(self, token: int) -> None:
        """One step of the decoder, after `begin`."""
        assert self._timed is not None
        self._timed.step([token])

    def warm_up(self) -> None:
        """Run everything once: engines pay for what they see for the first time."""
        self.run_synthetic()

    def run_synthetic(self) -> None:
        """Read and write a few arbitrary tokens, to measure memory."""
        with self._decoders.started({}) as decoder:
            decoder.step([1, 2, 3, 4])
            decoder.step([1])


def check_prompt(tokens: Sequence[int], context_tokens: int) -> None:
    """Refuse a prompt of nothing, and one that leaves no room to write."""
    if not tokens:
        raise DataError("nothing to write on from: an empty prompt", hint="give some text")
    if len(tokens) >= context_tokens:
        raise DataError(
            f"the prompt has {len(tokens)} tokens; this model reads {context_tokens} at most", hint="cut it"
        )


def open_language(parts: Parts) -> LanguageRunner:
    """The runner of one graph."""
    return LanguageRunner(parts.decoder(GRAPH), parts.settings, parts.tokenizer_path)
