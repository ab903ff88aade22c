"""Whether rows have what a model is fed with: the picture, the sound or the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penjing.data.row import Row
from penjing.errors import DataError


def check_media(settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Refuse rows without the picture, the sound or the text that a model runs on."""
    if "image" not in settings and "audio" not in settings:
        lacking = next((row for row in rows if settings.get("text") and not row.fields.get("text")), None)
        if lacking is not None:
            raise DataError(f"row {lacking.id!r} has no text", hint="this model is fed with a column `text`")
        return
    both = bool(settings.get("image") and settings.get("audio"))
    media = "image or sound" if both else "image" if settings.get("image") else "audio"
    for row in rows:
        if row.file is not None and both:
            continue
        if row.file is None or row.media != media:
            raise DataError(f"row {row.id!r} has no {media}", hint=f"this model is fed with {media} files")
