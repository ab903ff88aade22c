"""What a part of a model does (role), what it reads (modality), and what it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from penjing.models.tower import Modality, Role
from penjing.models.trunks import Trunk

KEY_WORDS: dict[Modality, tuple[str, ...]] = {
    "image": ("vision", "image", "visual", "video", "pixel"),
    "audio": ("audio", "speech", "acoustic", "sound"),
    "text": ("text", "language", "llm"),
}
INPUT_NAMES: dict[str, Modality] = {
    "pixel_values": "image",
    "pixel_values_videos": "image",
    "input_ids": "text",
    "input_features": "audio",
    "input_values": "audio",
}
CONNECTORS = ("qformer", "connector", "projector", "perceiver", "resampler", "abstractor")
HEAD_NAME = re.compile(r"head|classifier|score|logits|proj_out|qa_outputs|output")


def input_tables(net: nn.Module) -> list[nn.Embedding]:
    """List the token embeddings: what `get_input_embeddings` of the model or of a submodel gives, one per weight.

    Any other `nn.Embedding` (positions, segments, relative biases, queries) is a position table.
    """
    return [table for table in _answers(net, "get_input_embeddings") if isinstance(table, nn.Embedding)]


def output_layers(net: nn.Module) -> list[nn.Module]:
    """List the output heads over a vocabulary: what `get_output_embeddings` of the model or of a submodel gives."""
    return _answers(net, "get_output_embeddings")


def _answers(net: nn.Module, question: str) -> list[nn.Module]:
    """Ask every submodel, in module order; of modules that share a weight keep the first."""
    found: dict[int, nn.Module] = {}
    for module in net.modules():
        if not hasattr(module, "base_model"):
            continue
        try:
            answer: Any = getattr(module, question)()
        except (NotImplementedError, AttributeError):
            continue
        if isinstance(answer, nn.Module):
            found.setdefault(id(getattr(answer, "weight", answer)), answer)
    return list(found.values())


def modality_of(net: Any, trunk: Trunk) -> Modality:
    """Return what a trunk reads: by its config's name, its token table, its main input, then the whole model's."""
    for modality, words in KEY_WORDS.items():
        if any(word in trunk.key for word in words):
            return modality
    inside = {id(module) for module in trunk.module.modules()}
    weights = {id(module.weight) for module in trunk.module.modules() if isinstance(module, nn.Embedding)}
    if any(id(table) in inside or id(table.weight) in weights for table in input_tables(net)):
        return "text"
    for module in (trunk.module, net):
        read = INPUT_NAMES.get(getattr(module, "main_input_name", ""))
        if read:
            return read
    return "mixed"


def role_of(net: Any, trunk: Trunk, modality: Modality) -> Role:
    """Return whether a trunk encodes, decodes or connects.

    A text trunk decodes where its config says so, the model generates, or its attention is causal by itself. (CLIP
    masks its text causally too, but from outside: it stays an encoder.)
    """
    if trunk.key in ("encoder", "decoder"):
        return "encoder" if trunk.key == "encoder" else "decoder"
    if any(word in trunk.key for word in CONNECTORS):
        return "connector"
    config = getattr(trunk.module, "config", None)
    if modality == "text" and not getattr(config, "is_encoder_decoder", False):
        generates = hasattr(net, "can_generate") and net.can_generate()
        causal = any(
            getattr(module, "is_causal", False) is True for block in trunk.blocks for module in block.modules()
        )
        if getattr(config, "is_decoder", False) or generates or causal:
            return "decoder"
    return "encoder"


def name_of(trunk: Trunk, role: Role, modality: Modality) -> str:
    """Name a trunk as a person would: encoder and decoder where there are two sides, else by what it reads."""
    if trunk.key == "encoder" or role == "decoder":
        return role
    if role == "connector" or modality == "mixed":
        return trunk.key or role
    return modality


def unique(names: Iterable[str]) -> list[str]:
    """Number what comes twice: image, image_2."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found
