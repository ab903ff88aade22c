"""Engines that run an artifact's components, and runners that know one task each. Torch-free."""
