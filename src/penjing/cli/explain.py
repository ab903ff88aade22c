"""A method's settings as text and as JSON, from its own fields."""

from __future__ import annotations

import inspect
from typing import Any

from penjing.errors import RecipeError, did_you_mean
from penjing.methods import Method, known_methods


def find_methods(name: str | None) -> dict[str, type[Method]]:
    """The method of this name, or all of them."""
    known = known_methods()
    if name is None:
        return known
    if name not in known:
        raise RecipeError(f"no method called {name!r}", hint=did_you_mean(name, [*known]))
    return {name: known[name]}


def explain_method(cls: type[Method]) -> str:
    """What a method does, then one line per setting with its default."""
    lines = [f"{cls.name}\n", inspect.cleandoc(cls.__doc__ or ""), "\nSettings:"]
    for key, field in method_json(cls)["settings"].items():
        lines.append(f"  {key:13} {field['description']} (default: {field['default']})")
    return "\n".join(lines) + "\n"


def method_json(cls: type[Method]) -> dict[str, Any]:
    """Summary, roles and settings of a method."""
    settings = {
        key: {"description": field.description or "", "default": field.get_default(call_default_factory=True)}
        for key, field in cls.model_fields.items()
    }
    summary = inspect.cleandoc(cls.__doc__ or "").splitlines()[0]
    return {"summary": summary, "roles": [*cls.roles], "needs_data": cls.needs_data, "settings": settings}
