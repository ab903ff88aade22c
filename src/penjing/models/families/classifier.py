"""Classifiers: one label for a text (BERT, RoBERTa, DistilBERT, MPNet) or a picture (ViT, Swin, ResNet,
ConvNeXT, EfficientNet).

One graph, named as transformers.js reads it: `pixel_values`, or `input_ids` and its kin, in; `logits` out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.image_settings import image_settings
from penjing.data.labels import place_of
from penjing.data.row import Row
from penjing.data.text import Item
from penjing.errors import DataError, ModelError
from penjing.models.families.folded import folded
from penjing.models.families.text_graphs import TEXT_TYPES, text_component, text_inputs
from penjing.models.family import Component
from penjing.models.front_ends import front_end_file, longest_text, read_rows, see, text_settings
from penjing.models.image_inputs import image_inputs
from penjing.models.inputs import probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import LABELS, Batch, Tower

TEXT_HEAD, IMAGE_HEAD = "ForSequenceClassification", "ForImageClassification"
FIXED_TYPES = ("vit", "deit", "swin", "efficientnet")
"""Networks for pictures of one size."""
SLIDING_TYPES = ("resnet", "convnext", "convnextv2")
"""Networks that take pictures of any size."""


class Viewer(nn.Module):
    """Pictures. pixel_values (batch, channels, height, width) -> (batch, labels)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Label pictures."""
        logits: Tensor = self.net(pixel_values=pixel_values, return_dict=True).logits
        return logits


class PoolingViewer(Viewer):
    """An EfficientNet, with the mean over all places in place of a window of 1,280 pixels, which engines refuse."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Label pictures."""
        net: Any = self.net
        features = net.efficientnet.encoder(net.efficientnet.embeddings(pixel_values)).last_hidden_state
        logits: Tensor = net.classifier(features.mean((2, 3)))
        return logits


class Classifier:
    """The family: texts or pictures in, one of the model's labels out."""

    name = "classifier"
    task: str | None = "classifier"

    def matches(self, config: Any) -> bool:
        """Return whether each item gets one label of several; regression and many labels at once are another task."""
        names = config.architectures or [""]
        ending, types = (TEXT_HEAD, TEXT_TYPES) if _reads(config) else (IMAGE_HEAD, (*FIXED_TYPES, *SLIDING_TYPES))
        one_of_several = config.num_labels > 1 and config.problem_type in (None, "single_label_classification")
        return config.model_type in types and str(names[0]).endswith(ending) and one_of_several

    def towers(self, net: nn.Module) -> list[Tower]:
        """The encoder, its table of words where it has one, and the head."""
        return divide(net)

    def components(self, net: Any) -> list[Component]:
        """The one graph."""
        if _reads(net.config):
            return [text_component(net, "logits")]
        axes = {0: "batch"} | ({2: "height", 3: "width"} if net.config.model_type in SLIDING_TYPES else {})
        (pixels,) = image_inputs(net.config, ("pixel_values",), torch.Generator().manual_seed(0))
        pair = torch.cat([pixels["pixel_values"], pixels["pixel_values"].flip(-1)])
        viewer = PoolingViewer if net.config.model_type == "efficientnet" else Viewer
        module = viewer(folded(net))
        return [Component("model", module, {"pixel_values": pair}, ("logits",), {"pixel_values": axes}, "image")]

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """The labels in the order of the logits, and the front end, None where the folder has no file for it."""
        labels = [str(net.config.id2label[place]) for place in range(net.config.num_labels)]
        if _reads(net.config):
            longest = longest_text(net.config, net.base_model.embeddings)
            return {"labels": labels, "text": text_settings(folder, text_inputs(net), longest)}
        found = front_end_file(folder, "image_processor")
        return {"labels": labels, "image": None if found is None else image_settings(found)}

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """The picture, the text or the two texts of each row; with its label, where that is one of the model's."""
        given = [*rows]
        for row, item in zip(given, self._read(settings, folder, given), strict=True):
            place = place_of(row.fields.get("label", ""), settings["labels"])
            yield item if place is None else {**item, LABELS: torch.tensor([place])}

    def _read(self, settings: Mapping[str, Any], folder: Path, rows: Sequence[Row]) -> Iterator[Batch]:
        if "image" not in settings:
            yield from read_rows(settings["text"], folder, rows, _texts)
            return
        if settings["image"] is None:
            raise ModelError(
                f"{folder}: no preprocessor_config.json, so data cannot be fed to it", hint="copy it from the original"
            )
        look = see(settings["image"])
        for row in rows:
            if row.image is None:
                raise DataError(f"row {row.id!r} has no image", hint="this model is fed with images")
            yield look(row.image)

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Noise, or arbitrary words."""
        return probe_inputs(net, seed)


def _reads(config: Any) -> bool:
    return config.model_type in TEXT_TYPES


def _texts(row: Row) -> Item:
    """One text, or two that are read as one."""
    return (row.fields["text"], row.fields["text2"]) if "text2" in row.fields else row.fields["text"]
