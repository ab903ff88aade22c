"""Bring a runner, rows and metrics together: quality, speed and memory of whatever runs. Torch-free."""
