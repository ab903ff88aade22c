"""How the seedling sees and hears: everything is normalised as (x − mean) / std, by the statistics of training data."""

from __future__ import annotations

from typing import Any

from penjing.data.pictures import SIDE_PIXELS
from penjing.seedling.towers import FRAMES_PER_TOKEN

IMAGE_SETTINGS: dict[str, Any] = {
    "resize": {"height": SIDE_PIXELS, "width": SIDE_PIXELS},
    "resample": "bilinear",
    "crop": None,
    "scale": 1 / 255,
    "mean": [0.75, 0.63, 0.62],
    "std": [0.21, 0.14, 0.15],
}
"""Of `data.image.ImageFrontEnd`."""

AUDIO_SETTINGS: dict[str, Any] = {
    "feature_size": 80,
    "sampling_rate": 16000,
    "mean": 0.16,
    "std": 0.38,
    "frame_multiple": FRAMES_PER_TOKEN,
    "longest_s": 12.0,
}
"""Of `data.normal_mel.NormalMel`."""
