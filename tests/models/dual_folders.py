"""Whole tiny checkpoints of dual encoders, as transformers saves them: weights, tokenizer, front end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = [
    "a",
    "the",
    "of",
    "red",
    "green",
    "blue",
    "bus",
    "cat",
    "dog",
    "star",
    "ring",
    "small",
    "large",
    "barking",
    "rain",
    "on",
    "grey",
    "background",
    "left",
    "right",
]
SPECIAL = ("[PAD]", "[UNK]", "</s>")
WIDTH: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT: dict[str, Any] = {**WIDTH, "vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE: dict[str, Any] = {**WIDTH, "image_size": 32, "patch_size": 8}
AUDIO: dict[str, Any] = {
    "depths": (2, 1),
    "num_attention_heads": (1, 2),
    "hidden_size": 16,
    "patch_embeds_hidden_size": 8,
    "num_hidden_layers": 2,
}
NAMES = ("clip", "siglip", "vision_text", "clap", "clap_fused")


def tokenizer() -> Any:
    """A lower-casing word-level tokenizer that closes with the end token."""
    import transformers

    words = [*SPECIAL, *WORDS]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", eos_token="</s>", model_max_length=48
    )


def config(name: str) -> Any:
    """The config of one of NAMES."""
    import transformers

    if name == "clip":
        text = {**TEXT, "max_position_embeddings": 24, "eos_token_id": 39}
        return transformers.CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=16)
    if name == "siglip":
        return transformers.SiglipConfig(text_config={**TEXT, "max_position_embeddings": 16}, vision_config=IMAGE)
    if name == "vision_text":
        vision, text = transformers.ViTConfig(**IMAGE), transformers.BertConfig(**TEXT, max_position_embeddings=32)
        return transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=16)
    text = {**TEXT, "max_position_embeddings": 32}
    audio = {**AUDIO, "enable_fusion": name == "clap_fused"}
    return transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)


def network(name: str, layers: int = 2) -> Any:
    """A seeded random network in eval mode; its running statistics are not the identity."""
    import transformers

    classes = {"clip": "CLIPModel", "siglip": "SiglipModel", "vision_text": "VisionTextDualEncoderModel"}
    torch.manual_seed(0)
    made = config(name)
    for key in made.sub_configs:
        getattr(made, key).num_hidden_layers = layers
    net = getattr(transformers, classes.get(name, "ClapModel"))(made).eval()
    for weight in net.parameters():
        if weight.ndim >= 2:
            torch.nn.init.normal_(weight, std=0.15)
    for key, buffer in net.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return net.requires_grad_(False)


def front_end(name: str) -> Any:
    """The image processor or feature extractor of a model."""
    import transformers

    if name.startswith("clap"):
        cut = "fusion" if name == "clap_fused" else "rand_trunc"
        return transformers.ClapFeatureExtractor(truncation=cut)
    kind = {"clip": "CLIP", "siglip": "Siglip", "vision_text": "ViT"}[name]
    size: Any = {"shortest_edge": 32} if kind == "CLIP" else {"height": 32, "width": 32}
    crop = {"crop_size": 32} if kind == "CLIP" else {}
    return getattr(transformers, f"{kind}ImageProcessorPil")(size=size, **crop)


def save(name: str, folder: Path) -> Path:
    """Write the whole checkpoint."""
    network(name).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    front_end(name).save_pretrained(folder)
    return folder
