"""The seedling: a small image, text and audio model of our own, and the world it is trained on."""
