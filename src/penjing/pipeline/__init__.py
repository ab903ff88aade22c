"""The story of a run, in order and nothing else: compress, evaluate, inspect."""

from penjing.pipeline.compress import compress
from penjing.pipeline.evaluate import evaluate
from penjing.pipeline.inspect import inspect

__all__ = ["compress", "evaluate", "inspect"]
