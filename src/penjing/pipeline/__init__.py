"""The story of a run, in order and nothing else: compress, evaluate, inspect. Re-exports nothing: `evaluate` and
`inspect` serve artifacts without torch, and `compress` needs it.
"""
