"""Tiny encoders and classifiers with their front ends, and rows that judge them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tiny_language import WORDS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TOKENS = 48
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(WORDS), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": TOKENS, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
LABELS = ("calm", "glad", "sad")


def tokenizer() -> Any:
    """One token a word, lower-cased; two texts are told apart by their token types."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {word: place for place, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=512,
    )  # fmt: skip


def save_encoder(folder: Path) -> Path:
    """A BERT of random weights, as sentence-transformers saves one."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**TEXT)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    write_stages(folder, {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})
    return folder


def write_stages(folder: Path, pooling: dict[str, Any], kinds: tuple[str, ...] = ("Pooling", "Normalize")) -> None:
    """The files by which sentence-transformers tells what follows the transformer."""
    stages = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for place, kind in enumerate(kinds, 1):
        path = f"{place}_{kind}"
        stages.append({"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(stages))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))


def save_pairs(path: Path, count: int = 60) -> Path:
    """Pairs of texts that share some of their words, scored by how many."""
    dice = random.Random(1)
    lines = []
    for place in range(count):
        words = dice.choices(WORDS, k=dice.randint(6, 14))
        shared = place % 6 / 5
        kept = round(shared * len(words))
        other = words[:kept] + dice.choices(WORDS, k=len(words) - kept)
        lines.append({"sentence1": " ".join(words), "sentence2": " ".join(other), "score": 5 * shared})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def save_text_classifier(folder: Path) -> Path:
    """A BERT of random weights with three labels."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        **TEXT, num_labels=3, id2label=dict(enumerate(LABELS)), label2id={label: n for n, label in enumerate(LABELS)}
    )
    net = transformers.BertForSequenceClassification(config)
    torch.nn.init.normal_(net.classifier.weight, std=1.0)
    net.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def resnet(labels: int = 3) -> Any:
    """A seeded ResNet whose running statistics are not the identity, and some of whose factors are below zero."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 2, 1, 1], layer_type="basic", num_labels=labels
    )
    return with_statistics(transformers.ResNetForImageClassification(config))


def with_statistics(net: Any) -> Any:
    """A network, evaluating, whose batch normalisation is set to seeded statistics and factors in place."""
    import torch

    for module in net.eval().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, mean=1.0, std=0.7)
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.normal_(module.running_mean, std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    return net.requires_grad_(False)


def save_image_classifier(folder: Path) -> Path:
    """The ResNet with the image processor that published ones have."""
    import transformers

    resnet().save_pretrained(folder)
    transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(folder)
    return folder


def save_labelled(folder: Path, model: Path, count: int = 80) -> Path:
    """Drawn pictures, each labelled by what the model itself says of it: the source is always right."""
    from penjing.calibrate.runner import reference_runner
    from penjing.data.pictures import draw
    from penjing.models.open import open_model

    folder.mkdir(parents=True, exist_ok=True)
    runner = reference_runner(open_model(str(model)))
    lines = []
    for place in range(count):
        picture = draw(place)[0].convert("RGB")
        name = f"{place:02d}.png"
        picture.save(folder / name)
        lines.append({"file_name": name, "label": runner.classify([picture])[0].label})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
