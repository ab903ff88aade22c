"""One file per compression method: frozen settings and one verb. Importing the room registers them all."""

from penjing.methods.base import METHODS, Aids, Method, known_methods, make, method
from penjing.methods.float16 import Float16
from penjing.methods.rtn import Rtn
from penjing.methods.static_int8 import StaticInt8

__all__ = ["METHODS", "Aids", "Float16", "Method", "Rtn", "StaticInt8", "known_methods", "make", "method"]
