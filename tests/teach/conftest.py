"""Tiny models, opened anew for every test."""

from fresh_models import folder_of, fresh, one_thread

__all__ = ["folder_of", "fresh", "one_thread"]
