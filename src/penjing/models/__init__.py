"""Open a model, find its towers. The only room that knows a model family by name."""
