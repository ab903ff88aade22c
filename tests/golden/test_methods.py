"""Every method on the seedling at the same bits: as many sites in codes, as many bytes, and tasks as good as measured.

A method that silently did nothing would leave floats and fail by its sites and bytes; one that got worse, by its tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

import penjing

pytestmark = pytest.mark.slow
GRIDS = (
    'bits: 2, group: 128, towers: [image, text, audio], '
    'sites: ["image.layers.[01].feed.fc2", "audio.layers.*.feed.fc2", "text.*.fc2"]',
    'bits: 4, group: 128, sites: ["*.fc2"]',
    "bits: 4, group: 32",
)
CODED = "[image, text, audio, fusion, decoder]"
