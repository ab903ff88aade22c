"""A multimodal system from end to end, with the textbook in hand: preprocess, features, fusion, model, compression.

    python examples/walkthrough.py        # about four minutes; each part prints what it made

Written to be read from top to bottom; `# %%` marks cells for editors that run them one by one. The formulas are
explained in docs/.
"""

# %% The world: a scene of which everything is known, drawn, told, asked about
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

import penjing
import penjing.seedling
from penjing.data.audio import read_audio
from penjing.data.scenes import FOLDER
from penjing.models.pretrained import pretrained_folder
from penjing.scenes.captions import caption
from penjing.scenes.questions import questions
from penjing.scenes.scene import draw, imagine
from penjing.scenes.verify import verify
from penjing.seedling.attention import attend

scene = imagine(seed=2024)
picture, told, asked = draw(scene), caption(scene), questions(scene, 3, seed=1)
sound = read_audio(FOLDER / "speech" / "scene-004-question.ogg")
print("picture ", picture.size, "|", told)
print("true?   ", "yes" if not verify(picture, told) else "no", "(read off the pixels, nothing learned)")
for one in asked:
    print("question", one.text, "->", one.answer)

# %% Preprocess: every modality becomes numbers around zero of size one, (x - mean) / std
folder = pretrained_folder("seedling")
processor = penjing.seedling.SeedlingProcessor.from_pretrained(folder)
inputs = processor(images=picture, text=asked[0].text, audio=sound)
for name in ("pixel_values", "input_ids", "input_features"):
    print(f"{name:15} {tuple(inputs[name].shape)}")

# %% Features: a tower per modality turns them into tokens (for the fusion) and one embedding (for comparing)
model = penjing.seedling.SeedlingModel.from_pretrained(folder).eval()
with torch.no_grad():
    image, text, audio = (
        model.see(inputs["pixel_values"]),
        model.read(inputs["input_ids"]),
        model.hear(inputs["input_features"]),
    )
for name, features in (("image", image), ("text", text), ("audio", audio)):
    _, count, width = features.tokens.shape
    print(f"{name:6} {count:3} tokens of {width}, embedding {tuple(features.embedding.shape)}")

# %% Attention, the one formula of the fusion: softmax(Q Kᵀ / √d) V over the tokens of both modalities
tokens = torch.cat([image.tokens, text.tokens], 1)
layer = model.fusion.layers[0]
with torch.no_grad():
    normal = layer.attention_norm(tokens)
    query, key = layer.attention.q_proj(normal), layer.attention.k_proj(normal)
    heads = [part.unflatten(-1, (5, 32)).transpose(1, 2) for part in (query, key)]
    shares = attend(
        *heads, torch.eye(tokens.shape[1])[None, None]
    )  # values that are one-hot show the shares themselves
word = shares[0, :, 16:, :16].mean((0, 1)).reshape(4, 4)
print("what the question's words look at in the picture (4 × 4 places, percent of their attention):")
print((100 * word / word.sum()).round().int().numpy())

# %% The model: fuse whatever is there, write about it token by token
for question in asked:
    inputs = processor(images=picture, text=question.text)
    (tokens,) = model.generate("answer", pixel_values=inputs["pixel_values"], input_ids=inputs["input_ids"])
    print(f"{question.text}? {processor.decode(tokens)} (right: {question.answer})")
print("caption   ", said := processor.decode(model.generate("caption", pixel_values=inputs["pixel_values"])[0]))
print("false in it", verify(picture, said) or "nothing")
heard = processor(audio=sound)
print("heard     ", processor.decode(model.generate("transcribe", input_features=heard["input_features"])[0]))

# %% Compression: every tower to integers, round(A / s) · s, judged on scenes that no step has seen
with tempfile.TemporaryDirectory() as scratch:
    out = Path(scratch) / "seedling-small"
    found = penjing.compress("seedling", out, data="scenes", tell=lambda what, done, total: None)
    before, after = found["source"], found["result"]
    print(f"bytes   {before['size_bytes']:,} -> {after['size_bytes']:,}")
    for name in ("retrieval/recall_at_1", "caption/truth", "vqa/accuracy", "spoken_vqa/accuracy", "speech/wer"):
        print(f"{name:22} {before['metrics'][name]['value']:.3f} -> {after['metrics'][name]['value']:.3f}")

    # %% And use it, without torch: one folder of ONNX graphs
    small = penjing.load(out)
    print(asked[0].text, "->", small.ask(picture, asked[0].text))
    nearest = small.embed([picture], "image") @ small.embed([told, "two red rings on a beige background"]).T
    print("cosines of the picture with its caption and with another:", np.round(nearest[0], 2))
