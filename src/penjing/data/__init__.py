"""Rows of data, images and sounds read from files, and the front ends that turn them into arrays. Torch-free."""
