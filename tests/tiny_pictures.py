"""A few of the built-in pictures in a folder, as a user would have them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from penjing.data.pictures import load_pictures

FEW: Mapping[str, int] = {"calibrate": 8, "select": 4, "judge": 60}


def save_pictures(folder: Path, counts: Mapping[str, int] = FEW) -> Path:
    """Write the first rows of every part."""
    folder.mkdir(parents=True)
    data, lines, taken = load_pictures(), [], Counter[str]()
    for row in data.rows:
        part = data.parts[row.id]
        if taken[part] < counts.get(part, 0):
            taken[part] += 1
            assert isinstance(row.file, bytes)
            (folder / f"{row.id}.png").write_bytes(row.file)
            lines.append(json.dumps({"file_name": f"{row.id}.png", "text": row.fields["text"], "part": part}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder
