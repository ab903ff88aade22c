"""Train the small dual encoder that ships with penjing on the built-in pictures, and save it as a plain checkpoint.

    python scripts/train_dual_encoder.py [--steps 480] [--seed 0] [--out FOLDER]

A ViT and a BERT of 1.2 M parameters learn from a stream of drawings made on the fly. No scene of the built-in rows is
ever shown to them; the 60 select rows say how training goes, the 200 judge rows are read once, at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from penjing.data import pictures
from penjing.data.row import DataSet

MAX_TOKENS = 32
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
OUT = Path(__file__).parents[1] / "src/penjing/models/pretrained/dual-encoder"
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
---
# pictures-dual-encoder

A dual encoder of {parameters:,} parameters for tests, demos and gates: it matches drawings of coloured shapes (64 x 64)
with the sentence that describes them, and knows nothing else. A ViT ({vision_layers} layers, width {width}, patch
{patch}) and a BERT ({text_layers} layers, width {width}, word-level tokens) in a `VisionTextDualEncoderModel` of
transformers, trained from nothing with the contrastive loss of CLIP by `scripts/train_dual_encoder.py` on {seen:,}
drawings made on the fly. Weights are float16.

| measured on the 200 judge pictures of the set `pictures`, never seen in training | |
|---|---|
| image to text recall@1 | {image_to_text:.3f} |
| text to image recall@1 | {text_to_image:.3f} |
| training | {steps} steps of {batch}, seed {seed}, {minutes:.1f} minutes with {threads} thread(s) on a busy {machine} |

Use it as a model by the name `pictures-dual-encoder`, or with transformers:
`VisionTextDualEncoderModel.from_pretrained(folder)`.
"""


def words() -> list[str]:
    """Every word a caption can hold, sorted."""
    sentences = [pictures.imagine(seed).caption for seed in range(20_000)]
    return sorted({word for sentence in sentences for word in sentence.split()})


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a lower-casing word-level tokenizer: [CLS] words [SEP]."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
    )


def make_model(vocab_size: int) -> VisionTextDualEncoderModel:
    """Make the untrained model, without dropout: every picture is new, so nothing can be learnt by heart."""
    width, heads = 128, 4
    vision = ViTConfig(
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        image_size=pictures.SIDE_PIXELS,
        patch_size=8,
        initializer_range=0.09,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    text = BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=3,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.09,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = VisionTextDualEncoderConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=width, attn_implementation="eager"
    )
    return VisionTextDualEncoderModel(config)


def to_pixels(images: list[Image.Image]) -> torch.Tensor:
    """Scale RGB images of 64 x 64 to (n, 3, 64, 64) in -1..1, as the saved processor does."""
    stacked = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked.astype(np.float32) / 127.5 - 1)


def stream(seed: int, batch: int) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Draw batches of pictures (n, 3, 64, 64) and captions for ever, without any scene of the built-in rows."""
    held_out = {scene.meaning for scene in pictures.frozen().values()}
    dice = random.Random(seed)
    while True:
        images, captions, met = [], [], set(held_out)
        while len(images) < batch:
            number = int(dice.random() * pictures.FIRST_SEED)
            scene = pictures.imagine(number)
            if scene.meaning not in met:
                met.add(scene.meaning)
                images.append(pictures.render(scene, number))
                captions.append(scene.caption)
        yield to_pixels(images), captions


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Contrastive loss of CLIP over unit vectors image (n, d) and text (n, d). arXiv:2103.00020, figure 3."""
    logits = scale * image @ text.T
    truth = torch.arange(len(image))
    losses = [torch.nn.functional.cross_entropy(scores, truth) for scores in (logits, logits.T)]
    return torch.stack(losses).mean()


def embed(
    model: VisionTextDualEncoderModel, pixels: torch.Tensor, tokens: dict[str, torch.Tensor]
) -> list[torch.Tensor]:
    """Embed n pictures and n captions as unit vectors (n, d) each."""
    image = model.get_image_features(pixel_values=pixels).pooler_output
    text = model.get_text_features(**tokens).pooler_output
    return [torch.nn.functional.normalize(vectors, dim=-1) for vectors in (image, text)]


@torch.no_grad()
def recalls(model: VisionTextDualEncoderModel, tokenizer: PreTrainedTokenizerFast, part: str) -> tuple[float, float]:
    """Recall@1 of image to text and of text to image within one part of the built-in rows."""
    data: DataSet = pictures.load_pictures()
    rows = [row for row in data.rows if data.parts[row.id] == part]
    pixels = to_pixels([Image.open(io.BytesIO(row.file)) for row in rows if isinstance(row.file, bytes)])
    tokens = tokenizer([row.fields["text"] for row in rows], padding=True, return_tensors="pt")
    image, text = embed(model.eval(), pixels, {name: tokens[name] for name in ("input_ids", "attention_mask")})
    scores, truth = image @ text.T, torch.arange(len(rows))
    model.train()
    return ((scores.argmax(1) == truth).float().mean().item(), (scores.argmax(0) == truth).float().mean().item())


def train(model: VisionTextDualEncoderModel, tokenizer: PreTrainedTokenizerFast, plan: argparse.Namespace) -> None:
    """Train for `plan.steps` steps of `plan.batch` pictures: AdamW, warm-up, cosine to zero."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    warm = 40
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / (plan.steps - warm))),
    )
    started = time.monotonic()
    for step, (pixels, captions) in zip(range(1, plan.steps + 1), stream(plan.seed, plan.batch), strict=False):
        tokens = tokenizer(captions, padding=True, return_tensors="pt")
        image, text = embed(model, pixels, {name: tokens[name] for name in ("input_ids", "attention_mask")})
        loss = contrast(image, text, model.logit_scale.clamp(max=math.log(100)).exp())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == plan.steps:
            image_to_text, _ = recalls(model, tokenizer, "select")
            seconds = time.monotonic() - started
            print(
                f"step {step:4d}  loss {loss.item():.3f}  select recall@1 {image_to_text:.3f}  {seconds:.0f} s",
                flush=True,
            )


def save(model: VisionTextDualEncoderModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Save float16 weights and a config that says float32, so that a plain `from_pretrained` computes in float32."""
    model.save_pretrained(out)
    weights = out / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    tokenizer.save_pretrained(out)
    side = pictures.SIDE_PIXELS
    ViTImageProcessorPil(size={"height": side, "width": side}, do_convert_rgb=True).save_pretrained(out)


def measure(out: Path, tokenizer: PreTrainedTokenizerFast) -> tuple[VisionTextDualEncoderModel, tuple[float, float]]:
    """Load what was saved and measure it on the judge rows: image to text, text to image."""
    model = VisionTextDualEncoderModel.from_pretrained(out, dtype=torch.float32)
    return model, recalls(model, tokenizer, "judge")


def write_card(
    model: VisionTextDualEncoderModel, plan: argparse.Namespace, numbers: tuple[float, float], minutes: float
) -> None:
    """Write the model card with the measured numbers."""
    vision, text = model.config.vision_config, model.config.text_config
    facts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vision_layers": vision.num_hidden_layers,
        "text_layers": text.num_hidden_layers,
        "width": vision.hidden_size,
        "patch": vision.patch_size,
        "image_to_text": numbers[0],
        "text_to_image": numbers[1],
        "seen": plan.steps * plan.batch,
        "steps": plan.steps,
        "batch": plan.batch,
        "seed": plan.seed,
        "minutes": minutes,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    (plan.out / "README.md").write_text(CARD.format(**facts), encoding="utf8")
    print(json.dumps(facts))


def main() -> None:
    """Train, save, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    plan = parser.parse_args()
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    started = time.monotonic()
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer)).train()
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    train(model, tokenizer, plan)
    minutes = (time.monotonic() - started) / 60
    save(model, tokenizer, plan.out)
    saved, numbers = measure(plan.out, tokenizer)
    write_card(saved, plan, numbers, minutes)


if __name__ == "__main__":
    main()
