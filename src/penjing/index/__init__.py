"""A joint index of pictures, sounds and texts: what is in it, its vectors, and in how few bytes they keep. Torch-free.

The store of vectors is faiss, of everything else SQLite; why these: `docs/search.md`.
"""
