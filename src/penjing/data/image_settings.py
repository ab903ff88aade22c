"""Read the `preprocessor_config.json` of a checkpoint, old or new, into the plain settings that ImageFrontEnd takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penjing.data.image import FILTERS
from penjing.errors import ModelError

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]
CROPPED: Mapping[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    "resample": 3,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "default_to_square": False,
}
EXACT: Mapping[str, Any] = {"size": 224, "image_mean": HALF, "image_std": HALF}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "CLIP": CROPPED,
    "ChineseCLIP": CROPPED,
    "Bit": CROPPED,
    "Siglip": {**EXACT, "resample": 3, "default_to_square": False},
    "ViT": {**EXACT, "resample": 2},
    "ConvNext": {
        "size": {"shortest_edge": 384},
        "crop_pct": 224 / 256,
        "resample": 3,
        "image_mean": IMAGENET_MEAN,
        "image_std": IMAGENET_STD,
        "default_to_square": False,
    },
    "Blip": {"size": 384, "resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD},
    "EfficientNet": {
        "size": 346,
        "crop_size": 289,
        "resample": 3,
        "image_mean": HALF,
        "image_std": HALF,
        "include_top": True,
        "rescale_offset": False,
    },
    "DeiT": {**EXACT, "size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3},
}
"""What each kind of processor does where its file is silent. The kinds not named here do something else besides."""
ALWAYS: Mapping[str, Any] = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
SQUEEZED_PIXELS = 384
OWN_OPTIONS: Mapping[str, frozenset[str]] = {
    "ConvNext": frozenset({"crop_pct"}),
    "EfficientNet": frozenset({"include_top", "rescale_offset"}),
}
"""Options that one kind of processor alone has."""
READ = frozenset({*ALWAYS, *CROPPED, "image_processor_type", "feature_extractor_type"})
HARMLESS = frozenset(
    {
        *READ,
        *("auto_map", "processor_class", "_valid_processor_keys"),
        *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping", "do_convert_rgb"),
    }
)
"""Keys that are read here, or that change nothing for one picture on a CPU."""


def image_settings(preprocessor_config: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise an image processor's file: {resize, resample, crop, scale, mean, std}, None where a step is left out.

    `resize` is {"height", "width"} or {"shortest_edge"} and `crop` {"height", "width"}, in pixels. A kind of processor
    or an option that would change the pixels in a way we do not know is a ModelError, never ignored.
    """
    kind = processor_kind(preprocessor_config)
    for key, value in preprocessor_config.items():
        if key not in HARMLESS | OWN_OPTIONS.get(kind, frozenset()) and value not in (None, False):
            hint = "this image processor does something penjing has not learnt yet"
            raise ModelError(f"unknown image processor option {key!r}", hint=hint)
    given = {key: value for key, value in preprocessor_config.items() if value is not None}
    options = {**ALWAYS, **DEFAULTS[kind], **given}
    if "do_center_crop" not in options:
        options["do_center_crop"] = False
    if kind == "ConvNext" and options["do_resize"]:
        options |= _cut_to_share(options)
    mean, std = _normalisation(options)
    return {
        "resize": size_of(options["size"], bool(options.get("default_to_square", True)))
        if options["do_resize"]
        else None,
        "resample": filter_name(options["resample"]),
        "crop": size_of(options["crop_size"], True) if options["do_center_crop"] else None,
        "scale": float(options["rescale_factor"]) if options["do_rescale"] else None,
        "mean": mean,
        "std": std,
    }


def _normalisation(options: Mapping[str, Any]) -> tuple[list[float] | None, list[float] | None]:
    """Mean and standard deviation per channel, None where pixels are not normalised.

    EfficientNet may take 1 from every pixel first (`rescale_offset`) and divide by the deviation once more at the end
    (`include_top`): (x - 1 - mean) / std / std.
    """
    offset = float(bool(options["do_rescale"] and options.get("rescale_offset")))
    again = bool(options.get("include_top"))
    normalise = bool(options["do_normalize"])
    if not (normalise or offset or again):
        return None, None
    mean = per_channel(options["image_mean"] if normalise else 0.0)
    std = per_channel(options["image_std"])
    power = int(normalise) + int(again)
    return [value + offset for value in mean], [value**power for value in std]


def _cut_to_share(options: Mapping[str, Any]) -> dict[str, Any]:
    """ConvNeXT and ResNet: small sizes are the middle share `crop_pct` of a picture, large ones the whole, squeezed."""
    edge = size_of(options["size"], False).get("shortest_edge")
    if edge is None or options["do_center_crop"]:
        raise ModelError("a ConvNext image processor with a size or a crop of its own", hint="known: shortest_edge")
    if edge >= SQUEEZED_PIXELS:
        return {"size": [edge, edge]}
    return {"size": {"shortest_edge": int(edge / options["crop_pct"])}, "do_center_crop": True, "crop_size": edge}


def processor_kind(preprocessor_config: Mapping[str, Any]) -> str:
    """Name the kind of processor: `CLIPImageProcessorFast`, `CLIPFeatureExtractor` and the like are all `CLIP`."""
    for key in ("image_processor_type", "feature_extractor_type"):
        name = str(preprocessor_config.get(key) or "")
        for suffix in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
            name = name.removesuffix(suffix)
        if name in DEFAULTS:
            return name
        if name:
            raise ModelError(
                f"unknown image processor {preprocessor_config[key]!r}", hint=f"known: {', '.join(DEFAULTS)}"
            )
    raise ModelError("the image processor has no type", hint="add image_processor_type to preprocessor_config.json")


def size_of(size: Any, square: bool) -> dict[str, int]:
    """Read a size: a number (a square, or the shortest edge), a pair (height, width), or a dict."""
    if isinstance(size, int):
        return {"height": size, "width": size} if square else {"shortest_edge": size}
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return {"height": int(size[0]), "width": int(size[1])}
    if isinstance(size, Mapping):
        plain = {key: int(value) for key, value in size.items() if value is not None}
        if set(plain) in ({"height", "width"}, {"shortest_edge"}):
            return plain
    raise ModelError(f"unknown image size {size!r}", hint="known: a number, [height, width], or shortest_edge")


def filter_name(resample: Any) -> str:
    """Name a PIL filter given by its number."""
    for name, value in FILTERS.items():
        if resample in (value, name):
            return name
    raise ModelError(f"unknown resampling filter {resample!r}", hint=f"known: {', '.join(FILTERS)}")


def per_channel(value: Any) -> list[float]:
    """Spread one number over three channels, or check that there are three."""
    values = [float(value)] * 3 if isinstance(value, (int, float)) else [float(item) for item in value]
    if len(values) != 3:
        raise ModelError(f"an image processor for {len(values)} channels", hint="only RGB pictures are supported")
    return values
