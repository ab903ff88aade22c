"""One file per compression method: frozen settings and one verb. Importing the room registers them all."""

from penjing.methods.autoround import AutoRound
from penjing.methods.awq import Awq
from penjing.methods.base import METHODS, Aids, Method, known_methods, make, method
from penjing.methods.depth import Depth
from penjing.methods.distill import Distill
from penjing.methods.dynamic_int8 import DynamicInt8
from penjing.methods.float16 import Float16
from penjing.methods.gptq import Gptq
from penjing.methods.hqq import Hqq
from penjing.methods.int8_cache import Int8Cache
from penjing.methods.lowrank import LowRank
from penjing.methods.magnitude import Magnitude
from penjing.methods.rtn import Rtn
from penjing.methods.smoothquant import SmoothQuant
from penjing.methods.sparsegpt import SparseGpt
from penjing.methods.static_int8 import StaticInt8
from penjing.methods.tokens import Tokens
from penjing.methods.vocab import Vocab
from penjing.methods.wanda import Wanda
from penjing.methods.width import Width

__all__ = [
    "METHODS",
    "Aids",
    "AutoRound",
    "Awq",
    "Depth",
    "Distill",
    "DynamicInt8",
    "Float16",
    "Gptq",
    "Hqq",
    "Int8Cache",
    "LowRank",
    "Magnitude",
    "Method",
    "Rtn",
    "SmoothQuant",
    "SparseGpt",
    "StaticInt8",
    "Tokens",
    "Vocab",
    "Wanda",
    "Width",
    "known_methods",
    "make",
    "method",
]
