"""How many tokens stand for a picture, outside of the network's weights: on modules, in configurations and in files.

Settings are found by their name and by what they hold, as transformers' processors and configurations call them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penjing.models.checkpoint import read_json
from penjing.models.sizes import nested

COUNTS = ("image_seq_len", "image_seq_length")
"""Tokens of a picture, or of a tile."""
SURPLUS = "num_additional_image_tokens"
"""Tokens besides one per patch, where a processor counts patches; below zero where there are fewer tokens."""
FILES = ("config.json", "processor_config.json", "preprocessor_config.json")


def recount_network(net: Any, old: int, new: int) -> None:
    """Let every module and configuration that says how many tokens a picture has say it of the new number."""
    for holder in (*nested(net.config), *net.modules()):
        for key in COUNTS:
            if vars(holder).get(key) == old:
                setattr(holder, key, new)


def recount_files(folder: Path, old: int, new: int) -> None:
    """Rewrite the files of a checkpoint that say it; the others stay as they are, to the byte."""
    for name in FILES:
        found = read_json(folder / name) if (folder / name).is_file() else {}
        told = recounted(found, old, new)
        if told != found:
            (folder / name).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def recounted(document: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """What a file says afterwards."""
    told = {key: new if key in COUNTS and value == old else value for key, value in document.items()}
    if isinstance(told.get(SURPLUS), int):
        told[SURPLUS] += new - old
    return told
