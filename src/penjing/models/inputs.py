"""Synthetic inputs for any transformers model, seeded: what its forward asks for, in the sizes its config gives.

Where more than one layout is possible (audio features come as bands × frames, frames × bands, or with a channel), and
for models that mix images into text, the candidates are tried in order and the first one that runs is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from penjing.errors import ModelError
from penjing.models.audio_inputs import audio_inputs
from penjing.models.capture import call
from penjing.models.image_inputs import image_inputs
from penjing.models.roles import input_tables
from penjing.models.sizes import nested, seek

TEXT_TOKENS = 24
DECODER_TOKENS = 8
RESERVED_POSITIONS = 2
EXAMPLE_TOKENS, EXAMPLE_PAST = 3, 5
"""Tokens and past tokens of the example that a decoder's graph is exported by."""
MEDIA_TOKENS = {
    "pixel_values": ("get_image_features", "image_token_id"),
    "input_features": ("get_audio_features", "audio_token_id"),
}


def probe_inputs(net: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return inputs of one item that the network runs on; the same seed gives the same inputs."""
    candidates = list(_candidates(net, seed))
    if len(candidates) == 1:
        return candidates[0]
    reason = ""
    for inputs in candidates:
        try:
            with torch.no_grad():
                call(net, inputs)
        except Exception as error:
            reason = reason or (str(error).splitlines() or [type(error).__name__])[0]
        else:
            return inputs
    raise ModelError(
        f"{type(net).__name__} runs on none of the synthetic inputs made for it ({reason})",
        hint="it can be opened, but measured and checked only with data",
    )


def example_lengths(positions: int | None) -> tuple[int, int]:
    """Tokens and past tokens of a decoder's example: together no more than the model has positions, if it has few.

    From 4 positions on neither is below 2: the exporter takes an axis of length 1 for one that never varies.
    """
    if positions is None:
        return EXAMPLE_TOKENS, EXAMPLE_PAST
    tokens = max(1, min(EXAMPLE_TOKENS, positions // 2))
    return tokens, min(EXAMPLE_PAST, positions - tokens)


def _candidates(net: Any, seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield inputs, the likeliest first; the last resort of a model of text and more is text alone."""
    asked = inspect.signature(net.forward).parameters.keys()
    source = torch.Generator().manual_seed(seed)
    text = _text_inputs(net, asked, source)
    media = [*image_inputs(net.config, asked, source), *audio_inputs(net.config, asked, source)]
    for inputs in media or [{}]:
        together = {key: value for other in media for key, value in other.items()} | inputs
        yield _with_media_tokens(net, text, together, asked) | together
    alone = {key: value for key, value in text.items() if key != "decoder_input_ids"}
    if alone and (media or (len(alone) < len(text) and not net.can_generate())):
        yield alone


def _text_inputs(net: Any, asked: Container[str], source: torch.Generator) -> dict[str, Tensor]:
    """Token ids for the text side, and for the decoder where the two sides are apart."""
    sizes = [table.num_embeddings for table in input_tables(net)]
    if not sizes and getattr(net, "main_input_name", "") == "input_ids":
        sizes = [size for size in [seek(net.config, "vocab_size")] if isinstance(size, int)]
    found: dict[str, Tensor] = {}
    if not sizes:
        return found
    if "input_ids" in asked:
        found["input_ids"] = _tokens(net, sizes[0], TEXT_TOKENS, source)
        if "attention_mask" in asked:
            found["attention_mask"] = torch.ones_like(found["input_ids"])
        if "bbox" in asked:
            found["bbox"] = torch.zeros(1, found["input_ids"].shape[1], 4, dtype=torch.int64)
    if "decoder_input_ids" in asked and getattr(net.config, "is_encoder_decoder", True):
        ids = _tokens(net, sizes[-1], DECODER_TOKENS, source)
        start = seek(net.config, "decoder_start_token_id")
        ids[:, 0] = start if isinstance(start, int) else ids[:, 0]
        found["decoder_input_ids"] = ids
    return found


def _tokens(net: Any, vocabulary: int, count: int, source: torch.Generator) -> Tensor:
    """Random ordinary tokens (1, count), closed by the end token: some models pool there."""
    special = _special_tokens(net.config)
    ordinary = torch.tensor([token for token in range(vocabulary) if token not in special])
    longest = seek(net.config, "max_position_embeddings", "n_positions", "max_target_positions", prefer="text")
    if isinstance(longest, int):
        count = max(1, min(count, longest - RESERVED_POSITIONS))
    ids = ordinary[torch.randint(0, len(ordinary), (1, count), generator=source)]
    end = seek(net.config, "eos_token_id", prefer="text")
    if isinstance(end, int) and 0 <= end < vocabulary:
        ids[:, -1] = end
    return ids


def _special_tokens(config: Any) -> set[int]:
    """Every id that a config or one of its sub-configs names."""
    found: set[int] = set()
    for part in nested(config):
        for key, value in vars(part).items():
            if key.endswith(("token_id", "token_index", "token_ids")):
                found |= {token for token in (value if isinstance(value, list) else [value]) if isinstance(token, int)}
    return found


def _with_media_tokens(
    net: Any, text: dict[str, Tensor], media: dict[str, Tensor], asked: Container[str]
) -> dict[str, Tensor]:
    """Put one placeholder token into the text for every feature the image or audio side gives.

    The features are counted by asking the model, so the arithmetic of patches and pooling stays in transformers.
    """
    if "input_ids" not in text:
        return text
    ids = text["input_ids"]
    for key, (question, token_name) in MEDIA_TOKENS.items():
        token = seek(net.config, token_name)
        if key in media and isinstance(token, int) and hasattr(net, question):
            known = inspect.signature(getattr(net, question)).parameters
            try:
                with torch.no_grad():
                    output = getattr(net, question)(**{name: value for name, value in media.items() if name in known})
            except Exception:
                continue
            ids = torch.cat([ids[:, :1], torch.full((1, _rows(output)), token), ids[:, 1:]], 1)
    found = {**text, "input_ids": ids}
    if "mm_token_type_ids" in asked:
        found["mm_token_type_ids"] = (ids == seek(net.config, "image_token_id")).long()
    if "attention_mask" in text:
        found["attention_mask"] = torch.ones_like(ids)
    return found


def _rows(output: Any) -> int:
    """Count feature vectors in what get_image_features returns: a tensor, a list of them, or an output object."""
    if isinstance(output, Tensor):
        return output.numel() // output.shape[-1]
    if hasattr(output, "pooler_output"):
        return _rows(output.pooler_output)
    return sum(_rows(part) for part in output)
