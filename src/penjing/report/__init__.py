"""Tables, plots and the model card, made from JSON only."""
