"""The families, in the order they are asked; the generic one comes last and takes what no other knows."""

from __future__ import annotations

from typing import Any

from penjing.models.families.blip import BlipAnswerer, BlipCaptioner
from penjing.models.families.causal_lm import CausalLM
from penjing.models.families.classifier import Classifier
from penjing.models.families.dual_encoder import DualEncoder
from penjing.models.families.encoder import Encoder
from penjing.models.families.generic import Generic
from penjing.models.families.seedling import Seedling
from penjing.models.families.vision_language import VisionLanguage
from penjing.models.families.whisper import Whisper
from penjing.models.family import Family

FAMILIES: tuple[Family, ...] = (
    Whisper(),
    DualEncoder(),
    Seedling(),
    CausalLM(),
    VisionLanguage(),
    Encoder(),
    Classifier(),
    BlipCaptioner(),
    BlipAnswerer(),
    Generic(),
)


def family_of(config: Any) -> Family:
    """Return the first family that knows a transformers config."""
    return next(family for family in FAMILIES if family.matches(config))
