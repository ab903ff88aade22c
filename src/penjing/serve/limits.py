"""How much a request may bring, how many may wait, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server grants."""

    body_bytes: int = 25_000_000
    held_bytes: int = 200_000_000
    """Bodies of all requests that are read or answered, together."""
    requests: int = 1000
    """Requests that are read or answered at a time."""
    image_pixels: int = 40_000_000
    audio_s: float = 1800.0
    texts: int = 256
    """Texts, pictures or sounds of one request."""
    text_letters: int = 100_000
    """Of one text."""
    waiting: int = 64
    """Items that may wait for a model before further ones are refused."""
    together: int = 16
    """Items that go through a model at once."""
    timeout_s: float = 120.0
    tokens: int = 1024
    """Most that are written in one answer."""
    closing_s: float = 30.0
    """What was taken may take so long to finish when the server is told to stop."""
