"""How much a request may bring, how many may wait, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server grants."""

    head_bytes: int = 16_384
    """Request line and headers of one request."""
    head_s: float = 10.0
    """From the first byte of a request, or the start of a connection, until its headers are complete."""
    connections: int = 1000
    """Open at a time. For one more, the one that has waited longest without a request is closed."""
    body_bytes: int = 25_000_000
    json_bytes: int = 12_000_000
    """Of a body of JSON: it is in memory three times while it is parsed. Forms wait on the disk."""
    body_s: float = 60.0
    """From complete headers until the body is complete."""
    held_bytes: int = 24_000_000
    """Of bodies in memory, of all requests that are read or answered, together."""
    small_bytes: int = 32_768
    """A body of no more than this is taken even where others hold all there is: large ones do not lock it out."""
    drained: int = 8
    """Refused bodies that are read and thrown away at a time; the connections of others are closed at once."""
    drained_s: float = 5.0
    """A body that is refused is read and thrown away for so long: most clients read no answer before all is sent."""
    json_values: int = 500_000
    """Values of a JSON body: a list of empty lists takes fifty times its bytes once it is parsed."""
    requests: int = 1000
    """Requests that are read or answered at a time."""
    image_pixels: int = 40_000_000
    image_side: int = 65_535
    """Longest side of a picture in pixels, JPEG's own limit: every row costs memory, however narrow it is."""
    request_pixels: int = 200_000_000
    """Of all pictures of one request, together."""
    held_pixels: int = 80_000_000
    """Of decoded pictures of all requests that are read or answered, together."""
    audio_s: float = 1800.0
    """Of all sounds of one request, together."""
    held_audio_s: float = 3600.0
    """Of decoded sounds of all requests that are read or answered, together."""
    texts: int = 2048
    """Texts, pictures or sounds of one request."""
    text_letters: int = 100_000
    """Of one text."""
    request_letters: int = 1_000_000
    """Of all texts of one request for vectors, together."""
    chat_letters: int = 200_000
    """Of all messages of a conversation, together."""
    waiting: int = 64
    """Items that may wait for a model before further ones are refused."""
    together: int = 16
    """Items that go through a model at once."""
    timeout_s: float = 120.0
    tokens: int = 1024
    """Most that are written in one answer."""
    closing_s: float = 30.0
    """What was taken may take so long to finish when the server is told to stop."""
