"""Scenes of coloured shapes: drawn from a seed, told, asked about; everything about them is known exactly."""
