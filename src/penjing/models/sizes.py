"""Look sizes up in a transformers config and the configs inside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def nested(config: Any) -> Iterator[Any]:
    """Yield a config and every config inside it, outermost first."""
    yield config
    for name in getattr(config, "sub_configs", None) or ():
        sub = getattr(config, name, None)
        if sub is not None:
            yield from nested(sub)


def seek(config: Any, *names: str, prefer: str = "") -> Any:
    """Return the first of these values a config has; a sub-config called like `prefer` is asked before the others."""
    parts = list(nested(config))
    for name in getattr(config, "sub_configs", None) or ():
        if prefer and prefer in name and getattr(config, name, None) is not None:
            parts.insert(0, getattr(config, name))
    for part in parts:
        for name in names:
            value = getattr(part, name, None)
            if value is not None:
                return value
    return None
