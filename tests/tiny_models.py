"""Random checkpoints of many transformers architectures, each a few hundred kilobytes, written to a folder in a moment.

`TINY` maps a short name to a builder: `TINY["clip"](tmp_path / "clip")` saves the checkpoint there and returns it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

VOCAB = 96
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDTH: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT: dict[str, Any] = {**WIDTH, **SPECIAL, "vocab_size": VOCAB, "max_position_embeddings": 64}
LLAMA: dict[str, Any] = {**TEXT, "num_key_value_heads": 1}
IMAGE: dict[str, Any] = {**WIDTH, "image_size": 32, "patch_size": 8}
SEQ2SEQ: dict[str, Any] = {
    **SPECIAL,
    "vocab_size": VOCAB,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 1,
}
T5: dict[str, Any] = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
SAMPLES: dict[str, Any] = {
    **WIDTH,
    **SPECIAL,
    "vocab_size": VOCAB,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (10, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
CLAP_AUDIO: dict[str, Any] = {
    "depths": (1, 1, 1, 1),
    "num_attention_heads": (1, 1, 2, 2),
    "hidden_size": 64,
    "patch_embeds_hidden_size": 8,
    "projection_dim": 16,
}

Builder = Callable[[Path], Path]


def save(architecture: str, config: Any, folder: Path) -> Path:
    """Save a randomly initialised, seeded network of this class."""
    import transformers

    torch.manual_seed(0)
    net = getattr(transformers, architecture)(config)
    net.save_pretrained(folder)
    return folder


def builder(architecture: str, config: str, **settings: Any) -> Builder:
    """Build from a config class named `config`; a setting that is a (name, settings) pair is a config of its own."""

    def build(folder: Path) -> Path:
        import transformers

        made = {
            key: getattr(transformers, value[0])(**value[1]) if _is_config(value) else value
            for key, value in settings.items()
        }
        return save(architecture, getattr(transformers, config)(**made), folder)

    return build


def _is_config(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)


def vision_text(folder: Path) -> Path:
    """ViT and BERT side by side, as our own picture model is built."""
    import transformers

    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**IMAGE), transformers.BertConfig(**TEXT), projection_dim=16
    )
    return save("VisionTextDualEncoderModel", config, folder)


def vision_encoder_decoder(folder: Path) -> Path:
    """A captioner from a ViT and a GPT-2 with cross-attention."""
    import transformers

    gpt2 = transformers.GPT2Config(**SPECIAL, vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**IMAGE), gpt2, decoder_start_token_id=1, pad_token_id=0
    )
    return save("VisionEncoderDecoderModel", config, folder)


def t5_untied(folder: Path) -> Path:
    """T5 1.1: gated, and the file brings a head of its own."""
    import transformers

    torch.manual_seed(0)
    net = transformers.T5ForConditionalGeneration(transformers.T5Config(**T5, feed_forward_proj="gated-gelu"))
    net.lm_head.weight = torch.nn.Parameter(torch.randn_like(net.lm_head.weight))
    net.save_pretrained(folder)
    return folder


DUAL_ENCODERS: Mapping[str, Builder] = {
    "clip": builder("CLIPModel", "CLIPConfig", text_config=TEXT, vision_config=IMAGE, projection_dim=16),
    "siglip": builder("SiglipModel", "SiglipConfig", text_config=TEXT, vision_config=IMAGE),
    "clap": builder(
        "ClapModel",
        "ClapConfig",
        text_config={**TEXT, "projection_dim": 16},
        audio_config=CLAP_AUDIO,
        projection_dim=16,
    ),
    "vision_text": vision_text,
}
SPEECH: Mapping[str, Builder] = {
    "whisper": builder("WhisperForConditionalGeneration", "WhisperConfig", **SEQ2SEQ, num_mel_bins=16),
    "wav2vec2_ctc": builder("Wav2Vec2ForCTC", "Wav2Vec2Config", **SAMPLES),
    "hubert_ctc": builder("HubertForCTC", "HubertConfig", **SAMPLES),
    "speech_to_text": builder(
        "Speech2TextForConditionalGeneration",
        "Speech2TextConfig",
        **SEQ2SEQ,
        input_feat_per_channel=16,
        conv_channels=32,
        max_source_positions=400,
        max_target_positions=64,
    ),
    "moonshine": builder("MoonshineForConditionalGeneration", "MoonshineConfig", **TEXT),
    "ast": builder("ASTForAudioClassification", "ASTConfig", **WIDTH, patch_size=8, max_length=64, num_mel_bins=16),
}
VISION_LANGUAGE: Mapping[str, Builder] = {
    "llava": builder(
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        text_config=("LlamaConfig", LLAMA),
        vision_config=("CLIPVisionConfig", IMAGE),
        image_token_index=95,
    ),
    "paligemma": builder(
        "PaliGemmaForConditionalGeneration",
        "PaliGemmaConfig",
        text_config=("GemmaConfig", {**LLAMA, "head_dim": 16}),
        vision_config=("SiglipVisionConfig", {**IMAGE, "projection_dim": 32}),
        projection_dim=32,
        image_token_index=95,
    ),
    "smolvlm": builder(
        "SmolVLMForConditionalGeneration",
        "SmolVLMConfig",
        text_config=("LlamaConfig", LLAMA),
        vision_config=IMAGE,
        image_token_id=95,
        scale_factor=2,
        **SPECIAL,
    ),
    "qwen2_vl": builder(
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLConfig",
        text_config={
            **LLAMA,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8},
        image_token_id=95,
        video_token_id=94,
        vision_start_token_id=93,
        vision_end_token_id=92,
    ),
    "blip": builder(
        "BlipForConditionalGeneration",
        "BlipConfig",
        text_config={**TEXT, "encoder_hidden_size": 32, "sep_token_id": 2},
        vision_config=IMAGE,
        projection_dim=16,
    ),
    "vision_encoder_decoder": vision_encoder_decoder,
}
LANGUAGE: Mapping[str, Builder] = {
    "llama": builder("LlamaForCausalLM", "LlamaConfig", **LLAMA),
    "llama_grouped": builder(
        "LlamaForCausalLM", "LlamaConfig", **{**LLAMA, "num_attention_heads": 4, "num_key_value_heads": 2}
    ),
    "llama_tied": builder("LlamaForCausalLM", "LlamaConfig", **LLAMA, tie_word_embeddings=True),
    "qwen2": builder("Qwen2ForCausalLM", "Qwen2Config", **LLAMA, tie_word_embeddings=True),
    "gpt2": builder(
        "GPT2LMHeadModel", "GPT2Config", **SPECIAL, vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=64
    ),
    "opt": builder("OPTForCausalLM", "OPTConfig", **TEXT, ffn_dim=64, word_embed_proj_dim=32),
    "t5": builder("T5ForConditionalGeneration", "T5Config", **T5),
    "t5_untied": t5_untied,
    "bart": builder("BartForConditionalGeneration", "BartConfig", **SEQ2SEQ, max_position_embeddings=64),
}
DISTILLED: dict[str, Any] = {
    "vocab_size": VOCAB,
    "dim": 32,
    "hidden_dim": 64,
    "n_layers": 2,
    "n_heads": 2,
    "max_position_embeddings": 64,
}
ENCODERS: Mapping[str, Builder] = {
    "minilm": builder("BertModel", "BertConfig", **TEXT),
    "roberta_bare": builder("RobertaModel", "RobertaConfig", **{**TEXT, "pad_token_id": 1, "type_vocab_size": 1}),
    "distilbert_bare": builder("DistilBertModel", "DistilBertConfig", **DISTILLED),
    "mpnet": builder("MPNetModel", "MPNetConfig", **{**TEXT, "pad_token_id": 1}),
    "bert_masked": builder("BertForMaskedLM", "BertConfig", **TEXT),
}
CLASSIFIERS: Mapping[str, Builder] = {
    "bert": builder("BertForSequenceClassification", "BertConfig", **TEXT, num_labels=3),
    "roberta": builder("RobertaForTokenClassification", "RobertaConfig", **TEXT, num_labels=3),
    "distilbert": builder("DistilBertForSequenceClassification", "DistilBertConfig", **DISTILLED),
    "vit": builder("ViTForImageClassification", "ViTConfig", **IMAGE, num_labels=3),
    "resnet": builder(
        "ResNetForImageClassification",
        "ResNetConfig",
        embedding_size=8,
        hidden_sizes=[16, 16, 32, 32],
        depths=[1, 2, 1, 1],
        num_labels=3,
    ),
    "efficientnet": builder(
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        image_size=48,
        width_coefficient=0.25,
        depth_coefficient=1.0,
        hidden_dim=320,
        depthwise_padding=[],
        in_channels=[32, 32],
        out_channels=[32, 64],
        kernel_sizes=[3, 5],
        strides=[1, 2],
        expand_ratios=[1, 4],
        num_block_repeats=[1, 2],
        num_labels=3,
    ),
    "swin": builder(
        "SwinForImageClassification",
        "SwinConfig",
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 1],
        num_heads=[2, 2],
        window_size=4,
        num_labels=3,
    ),
    "convnext": builder(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 2, 1],
        image_size=64,
        num_labels=3,
    ),
}


def seedling(folder: Path) -> Path:
    """Our own model of many modalities."""
    from tiny_seedling import save_seedling

    return save_seedling(folder)


CODECS: Mapping[str, Builder] = {
    "encodec": builder(
        "EncodecModel",
        "EncodecConfig",
        num_filters=4,
        hidden_size=32,
        num_lstm_layers=2,
        codebook_size=32,
        codebook_dim=32,
        upsampling_ratios=[4, 2],
        target_bandwidths=[12.0],
        sampling_rate=2400,
    ),
}
MULTIMODAL: Mapping[str, Builder] = {"seedling": seedling}
TINY: Mapping[str, Builder] = {
    **DUAL_ENCODERS,
    **SPEECH,
    **VISION_LANGUAGE,
    **LANGUAGE,
    **ENCODERS,
    **CLASSIFIERS,
    **CODECS,
    **MULTIMODAL,
}
