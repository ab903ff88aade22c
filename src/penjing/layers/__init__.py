"""Modules that hold compressed weights. Importing the room makes every layer known to `described`."""

from penjing.layers.cache import CacheGrid
from penjing.layers.dynamic import DynamicConv, DynamicLinear
from penjing.layers.lowrank import LowRankLinear
from penjing.layers.masked import MaskedConv1d, MaskedConv2d, MaskedEmbedding, MaskedLinear
from penjing.layers.recurrent import IntRecurrent
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear

__all__ = [
    "CacheGrid",
    "DynamicConv",
    "DynamicLinear",
    "IntConv",
    "IntEmbedding",
    "IntLinear",
    "IntRecurrent",
    "LowRankLinear",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedEmbedding",
    "MaskedLinear",
    "StaticConv",
    "StaticLinear",
]
