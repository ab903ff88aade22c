"""Modules that hold compressed weights; what they compute is exactly what the exported graph computes."""
