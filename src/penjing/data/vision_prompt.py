"""A question about a picture as the tokens and pixels that a vision-language model reads.

What the model's chat template writes around picture and question was written out once, in the workshop: no template is
evaluated here. Settings (`prompt`):

- `segments`: [kind, text] in order; `text` stands as it is, `image` and `question` are filled in
- `special`: whether the tokenizer puts its own tokens around the whole
- `image`: `token`, `count` of them per tile, and what stands `around`, before the `whole` and before each `tile`
- `caption`: what is asked for when a caption is wanted
- `turns`: what stands between a question and its answer (`answer`), and between that and the next question (`again`);
  None where the template writes no further turns, missing in artifacts of before
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penjing.data.chat import Message
from penjing.data.image import ImageFrontEnd
from penjing.data.text import check_plain, open_tokenizer, special_tokens
from penjing.data.tiles import TileFrontEnd, Tiles
from penjing.errors import DataError
from penjing.values import Array, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Tokens of a question with a place for every image token, and the pixels (tiles, 3, height, width)."""

    tokens: tuple[int, ...]
    pixels: FloatArray

    def inputs(self, tiled: bool) -> dict[str, Array]:
        """What a vision graph reads, all tiles at once; without tiles (LLaVA) there is one picture and no mask."""
        if not tiled:
            return {"pixel_values": self.pixels}
        seen = np.ones((1, len(self.pixels), *self.pixels.shape[2:]), np.bool_)
        return {"pixel_values": self.pixels[None], "pixel_attention_mask": seen}


class VisionPrompt:
    """Writes the prompts of one model."""

    def __init__(self, settings: Mapping[str, Any], tokenizer_path: Path) -> None:
        self.tokenizer = open_tokenizer(tokenizer_path)
        self.tokenizer.no_truncation()  # whoever saved it may have cut and padded last
        self.tokenizer.no_padding()
        self._own = special_tokens(self.tokenizer)
        self.tiled: bool = "tile" in settings["image"]
        self._settings: Mapping[str, Any] = settings["prompt"]
        self._image_token: int = settings["image_token_id"]
        self._context: int = settings["context_tokens"]
        self._see: Any = TileFrontEnd(settings["image"]) if self.tiled else ImageFrontEnd(settings["image"])

    @property
    def caption_request(self) -> str:
        """What is asked for when a caption is wanted."""
        request: str = self._settings["caption"]
        return request

    def __call__(self, image: Image.Image, question: str, answer: str = "", before: Sequence[Message] = ()) -> Prompt:
        """The prompt of a question about an RGB picture, and the answer behind it where it is known.

        `before` are questions about the same picture and their answers, in turns.
        """
        question = question.strip()
        if not question:
            raise DataError("nothing to ask: an empty question", hint="write a question about the picture")
        check_plain(question, self._own, "the question")
        first, rest = self._turns(question, before)
        found = self._see(image)
        seen = found if isinstance(found, Tiles) else Tiles(found[None])
        text = self.text(first, seen.rows, seen.columns, rest)
        if answer:
            text += answer if text[-1:].isspace() else f" {answer}"
        tokens = self.tokenizer.encode(text, add_special_tokens=self._settings["special"]).ids
        if tokens.count(self._image_token) != len(seen.pixels) * self._settings["image"]["count"]:
            raise DataError(f"{question!r} holds a token that stands for a picture", hint="leave it out")
        if len(tokens) >= self._context:
            raise DataError(
                f"picture and question have {len(tokens)} tokens; this model reads {self._context} at most",
                hint="ask something shorter",
            )
        return Prompt(tuple(tokens), seen.pixels)

    def _turns(self, question: str, before: Sequence[Message]) -> tuple[str, str]:
        """The first question of a conversation, and all that is said between it and the answer that is to come."""
        if not before:
            return question, ""
        turns = self._settings.get("turns")
        if turns is None:
            hint = "ask one question about a picture, or compress the model anew: older artifacts know no turns"
            raise DataError("the chat template of this model goes on with no further question", hint=hint)
        if [message.role for message in before] != ["user", "assistant"] * (len(before) // 2):
            raise DataError("questions about a picture and answers come in turns", hint="the first is a question")
        for message in before:
            check_plain(message.text, self._own, "a message")
        texts = [message.text.strip() for message in before]
        between = itertools.cycle([turns["answer"], turns["again"]])
        said = (piece + text for piece, text in zip(between, [*texts[1:], question], strict=False))
        return texts[0], "".join(said)

    def text(self, question: str, rows: int = 0, columns: int = 0, rest: str = "") -> str:
        """The prompt in words, for a picture of so many tiles; `rest` is what was said after the question."""
        filled = {"image": self._image_text(rows, columns), "question": question + rest}
        return "".join(filled.get(kind, text) for kind, text in self._settings["segments"])

    def _image_text(self, rows: int, columns: int) -> str:
        part = self._settings["image"]
        shown = part["token"] * part["count"]
        if not rows:
            return f"{part['around']}{part['whole']}{shown}{part['around']}"
        lines = [
            "".join(part["around"] + _named(part["tile"], row + 1, column + 1) + shown for column in range(columns))
            for row in range(rows)
        ]
        return "\n".join(lines) + f"\n\n{part['around']}{part['whole']}{shown}{part['around']}"


def _named(tile: str, row: int, column: int) -> str:
    """The words before a tile; no other field of a format is filled in, since they come with the artifact."""
    return tile.replace("{row}", str(row)).replace("{column}", str(column))
