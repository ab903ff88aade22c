"""Arithmetic on tensors: pure functions, shapes and source in the docstring; no modules, no I/O."""
