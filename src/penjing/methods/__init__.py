"""One file per compression method: frozen settings and one verb. Importing the room registers them all."""

from penjing.methods.autoround import AutoRound
from penjing.methods.awq import Awq
from penjing.methods.base import METHODS, Aids, Method, known_methods, make, method
from penjing.methods.float16 import Float16
from penjing.methods.gptq import Gptq
from penjing.methods.hqq import Hqq
from penjing.methods.int8_cache import Int8Cache
from penjing.methods.rtn import Rtn
from penjing.methods.smoothquant import SmoothQuant
from penjing.methods.static_int8 import StaticInt8
from penjing.methods.tokens import Tokens

__all__ = [
    "METHODS",
    "Aids",
    "AutoRound",
    "Awq",
    "Float16",
    "Gptq",
    "Hqq",
    "Int8Cache",
    "Method",
    "Rtn",
    "SmoothQuant",
    "StaticInt8",
    "Tokens",
    "known_methods",
    "make",
    "method",
]
