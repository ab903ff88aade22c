"""What compressed models are for: a runner and a front end, an answer out. Torch-free."""
