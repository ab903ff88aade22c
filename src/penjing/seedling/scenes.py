"""The world that the seedling is trained on, under its own roof: `penjing.scenes`, which is free of torch, holds it."""

from penjing.scenes.captions import caption, false_claims
from penjing.scenes.questions import Question, questions
from penjing.scenes.scene import Item, Scene, draw, imagine, scenes

__all__ = ["Item", "Question", "Scene", "caption", "draw", "false_claims", "imagine", "questions", "scenes"]
