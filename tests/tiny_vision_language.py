"""Tiny vision-language models with tokenizer, image processor and chat template, for scenes to be described."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SENTENCE = (
    "a an the and there is are no one two three four five six seven eight nine in of to at on with above below left "
    "right top bottom middle corner center red blue green yellow purple orange white black grey circle square triangle "
    "star circles squares triangles stars how many what color shape where yes does it show picture scene image small "
    "large big describe this user assistant . , ? : ! s"
)
SPECIAL = (
    "[PAD]",
    "<s>",
    "</s>",
    "[UNK]",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
)
TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4))
CONTEXT = 512
SIDE = 32
CHATML = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
KINDS = ("llava", "llava_siglip", "idefics3", "smolvlm")


def tokenizer() -> Any:
    """One token a word."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = dict.fromkeys((*SPECIAL, *TILES, *SENTENCE.split(), "User", "Assistant", "Describe"))
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([*SPECIAL, *TILES])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", bos_token="<s>", eos_token="</s>"
    )


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "vocab_size": vocabulary, "initializer_range": 0.3, **more,
    }  # fmt: skip


def _vision(kind: str) -> dict[str, Any]:
    return {
        "model_type": kind, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.2,
    }  # fmt: skip


def _llava(vocabulary: int, eye: str = "clip_vision_model", select: str = "default") -> Any:
    import transformers

    config = transformers.LlavaConfig(
        text_config=_text(vocabulary), vision_config=_vision(eye), image_token_index=SPECIAL.index("<image>"),
        vision_feature_select_strategy=select,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config)


def _tiled(vocabulary: int, name: str) -> Any:
    import transformers

    kind = {"Idefics3": "idefics3_vision", "SmolVLM": "smolvlm_vision"}[name]
    config = getattr(transformers, f"{name}Config")(
        text_config=_text(vocabulary, tie_word_embeddings=True), vision_config=_vision(kind), scale_factor=2,
        image_token_id=SPECIAL.index("<image>"), tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


def save_vision_language(folder: Path, kind: str = "smolvlm", processor: Mapping[str, Any] | None = None) -> Path:
    """A model of random weights; `processor` changes its image processor's file."""
    import torch

    torch.manual_seed(0)
    words = tokenizer()
    vocabulary = len(words)
    if kind.startswith("llava"):
        siglip = kind == "llava_siglip"
        net = _llava(vocabulary, "siglip_vision_model", "full") if siglip else _llava(vocabulary)
        file: dict[str, Any] = {
            "image_processor_type": "SiglipImageProcessor" if siglip else "CLIPImageProcessor",
            "size": {"height": SIDE, "width": SIDE} if siglip else {"shortest_edge": SIDE},
            **({} if siglip else {"crop_size": {"height": SIDE, "width": SIDE}}),
        }
    else:
        name = {"idefics3": "Idefics3", "smolvlm": "SmolVLM"}[kind]
        net = _tiled(vocabulary, name)
        (folder).mkdir(parents=True, exist_ok=True)
        (folder / "chat_template.jinja").write_text(CHATML)
        file = {
            "image_processor_type": f"{name}ImageProcessor", "do_image_splitting": True, "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": SIDE}, "resample": 1,
        }  # fmt: skip
    net.generation_config.eos_token_id = [2, SPECIAL.index("<end_of_utterance>")]
    net.save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**file, **(processor or {})}))
    return folder


def save_blip(folder: Path, *, asks: bool = False) -> Path:
    """A captioner, or one that answers, of random weights; its tokenizer puts [CLS]-like tokens around questions."""
    import torch
    import transformers
    from tokenizers.processors import TemplateProcessing

    torch.manual_seed(0)
    words = tokenizer()
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BlipConfig(
        text_config={
            **size, "encoder_hidden_size": 64, "vocab_size": len(words), "max_position_embeddings": 64,
            "bos_token_id": len(SPECIAL), "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0,
            "initializer_range": 0.3,
        },
        vision_config={**_vision("blip_vision_model"), "hidden_size": 64}, projection_dim=16,
    )  # fmt: skip
    kind = transformers.BlipForQuestionAnswering if asks else transformers.BlipForConditionalGeneration
    net = kind(config)
    for name, values in net.named_parameters():  # these start at zero or far from it, which hides mistakes
        if name.endswith(("bias", "class_embedding", "position_embedding")):
            torch.nn.init.normal_(values, std=0.1)
    net.save_pretrained(folder)
    words.save_pretrained(folder)
    size_file = {"image_processor_type": "BlipImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(size_file))
    return folder
