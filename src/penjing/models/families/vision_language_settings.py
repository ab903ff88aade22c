"""What the shop must know about a vision-language model, as plain JSON, and calibration inputs made with it.

- `image`: settings of ImageFrontEnd (LLaVA) or of TileFrontEnd (Idefics3, SmolVLM)
- `prompt`: the chat template, written out; see `penjing.data.vision_prompt`
- `image_token_id`: the token that stands where a feature of the picture goes
- `decoder`, `generation`, `context_tokens`: shape of the cache, tokens that end an answer, longest prompt and answer
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.data.image import read_image
from penjing.data.image_settings import image_settings
from penjing.data.row import Row
from penjing.data.tiles import cuts_tiles, tile_settings
from penjing.data.vision_prompt import VisionPrompt
from penjing.errors import DataError, ModelError
from penjing.layers.condensing import tokens_left
from penjing.models.families.chat_settings import chat_template
from penjing.models.families.language_settings import language_settings
from penjing.models.front_ends import front_end_file, has_tokenizer, open_fast, tokenizer_json
from penjing.models.tower import Batch

CAPTION_REQUEST = "Describe this image."
ASKED, ANSWERED, AGAIN = (f"\ue000{name}\ue001" for name in ("question", "answer", "again"))
"""Stand for what is said while the template is written out; of letters that no template and no text has."""
PLAIN = "USER: <image>\n" + ASKED + " ASSISTANT:"
"""The prompt of LLaVA 1.5, whose checkpoints have no template."""


def vision_language_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Read everything the shop must know; what the folder has no file for is None."""
    return {
        "image": _image(net, folder),
        "prompt": _prompt(net, folder),
        "image_token_id": int(net.config.image_token_id),
        **language_settings(net, net.config.text_config),
    }


def _image(net: Any, folder: Path | None) -> dict[str, Any] | None:
    """The front end; it must give the pictures that the encoder was made for."""
    found = front_end_file(folder, "image_processor")
    if found is None:
        return None
    settings = tile_settings(found) if cuts_tiles(found) else image_settings(found)
    side = net.config.vision_config.image_size
    if ("tile" in settings) != hasattr(net.model, "connector"):
        raise ModelError(
            f"{type(net).__name__} is not fed by {found.get('image_processor_type')}",
            hint="take config.json and preprocessor_config.json from the same checkpoint",
        )
    size = settings["tile"] if "tile" in settings else settings["crop"] or settings["resize"]
    if size not in (side, {"height": side, "width": side}):
        raise ModelError(
            f"preprocessor_config.json gives pictures of size {size}, the encoder reads {side} × {side}",
            hint="other sizes are not supported yet: write this one into preprocessor_config.json",
        )
    return settings


def _prompt(net: Any, folder: Path | None) -> dict[str, Any] | None:
    """Write the chat template out once: what stands before, between and behind picture and question."""
    if folder is None or not has_tokenizer(folder):
        return None
    tokenizer = open_fast(folder)
    token = str(tokenizer.convert_ids_to_tokens(net.config.image_token_id))
    tiled = hasattr(net.model, "connector")
    template = chat_template(folder, tokenizer)
    if template is None and tiled:
        return None
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": ASKED}]}]
    text = PLAIN.replace("<image>", token)
    if template is not None:
        text = tokenizer.apply_chat_template(said, chat_template=template, tokenize=False, add_generation_prompt=True)
    if text.count(token) != 1 or text.count(ASKED) != 1:
        raise ModelError(
            "the chat template does not write picture and question once each",
            hint="give the checkpoint a chat_template.jinja that does",
        )
    begins = str(tokenizer.bos_token or "")
    return {
        "segments": _segments(text, token),
        "special": not (begins and text.startswith(begins)),
        "image": _expansion(net, tokenizer, token, tiled),
        "caption": CAPTION_REQUEST,
        "turns": _turns(tokenizer, template, said, text),
    }


def _turns(tokenizer: Any, template: str | None, said: list[dict[str, Any]], text: str) -> dict[str, str] | None:
    """What the template writes between questions and answers; None where a longer conversation is written otherwise.

    `text` is what it writes of the first question alone.
    """
    start, _, end = text.partition(ASKED)
    if template is None:  # as LLaVA 1.5 was trained: the answer ends with the end of a text
        return {"answer": f"{end} ", "again": f"{tokenizer.eos_token}USER: "}
    told = [{"role": "assistant", "content": [{"type": "text", "text": ANSWERED}]},
            {"role": "user", "content": [{"type": "text", "text": AGAIN}]}]  # fmt: skip
    try:
        whole = tokenizer.apply_chat_template(
            [*said, *told], chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception:  # a template raises what it likes
        return None
    parts = re.split(f"{ASKED}|{ANSWERED}|{AGAIN}", whole)
    if len(parts) != 4 or parts[0] != start or parts[3] != end:
        return None
    return {"answer": parts[1], "again": parts[2]}


def _segments(text: str, token: str) -> list[list[str]]:
    """Cut a written-out template at picture and question."""
    kinds = {token: "image", ASKED: "question"}
    found: list[list[str]] = []
    for part in re.split(f"({re.escape(token)}|{re.escape(ASKED)})", text):
        if part in kinds:
            found.append([kinds[part], ""])
        elif part:
            found.append(["text", part])
    return found


def _expansion(net: Any, tokenizer: Any, token: str, tiled: bool) -> dict[str, Any]:
    """What stands for a picture: how many tokens, and what is around them."""
    if tiled:
        return {
            "token": token,
            "count": image_tokens(net),
            "around": str(getattr(tokenizer, "fake_image_token", None) or "<fake_token_around_image>"),
            "whole": str(getattr(tokenizer, "global_image_token", None) or "<global-img>"),
            "tile": "<row_{row}_col_{column}>",
        }
    return {"token": token, "count": image_tokens(net), "around": "", "whole": "", "tile": ""}


def image_tokens(net: Any) -> int:
    """How many tokens the language model reads of a picture, or of a tile where it is cut into tiles."""
    config, tiled = net.config, hasattr(net.model, "connector")
    left = tokens_left(net.model.connector if tiled else net.model.multi_modal_projector)
    if left is not None:
        return left
    patches: int = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    if tiled:
        return patches // int(config.scale_factor) ** 2
    named = int(config.vision_config.model_type == "clip_vision_model")  # the class token, of no place
    return patches + named - int(config.vision_feature_select_strategy == "default")


def vision_language_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
    """One picture and text per batch, as the processor makes them, and where the answer begins."""
    if not settings.get("image") or not settings.get("prompt"):
        missing = "chat template" if settings.get("image") else "preprocessor_config.json"
        raise ModelError(f"{folder}: no {missing}, so data cannot be fed to it", hint="copy it from the original model")
    ends = settings["generation"]["eos"][:1]
    with ExitStack() as kept:
        prompt = VisionPrompt(settings, tokenizer_json(folder, kept))
        for row in rows:
            if row.image is None:
                raise DataError(f"row {row.id!r} has no image", hint="this model is fed with pictures and texts")
            question, answer = told_of(row, prompt.caption_request)
            image = read_image(row.image)
            asked, said = prompt(image, question), prompt(image, question, answer)
            ids = torch.tensor([[*said.tokens, *ends]])
            seen = {name: torch.from_numpy(values) for name, values in said.inputs(prompt.tiled).items()}
            yield {
                **seen,
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "answer_from": torch.tensor(len(asked.tokens)),
            }


def told_of(row: Row, request: str) -> tuple[str, str]:
    """What is asked about a row's picture and what is answered: its question, or the request for its caption."""
    fields = row.fields
    if "question" in fields and "answer" in fields:
        return fields["question"], fields["answer"]
    if "text" in fields and "question" not in fields:
        return request, fields["text"]
    missing = "answer" if "question" in fields else "text"
    raise DataError(f"row {row.id!r} has no {missing!r}", hint="give it a `text`, or a `question` and an `answer`")
