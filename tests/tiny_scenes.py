"""A small set of scenes as a person would bring it: a folder of pictures with captions and questions."""

from __future__ import annotations

import json
from pathlib import Path

from penjing.scenes.captions import caption
from penjing.scenes.questions import questions
from penjing.scenes.scene import draw, imagine


def save_scenes(folder: Path, count: int = 12) -> Path:
    """Pictures, each with a caption and a question, dealt to the three parts."""
    folder.mkdir(parents=True)
    lines = []
    for seed in range(count):
        scene = imagine(seed)
        draw(scene).save(folder / f"{seed}.png")
        part = ("judge", "calibrate", "judge", "select")[seed % 4]
        about = {"file_name": f"{seed}.png", "part": part}
        (asked,) = questions(scene, 1, seed)
        lines.append({**about, "text": caption(scene), "scene": scene.as_json()})
        lines.append({**about, "question": asked.text, "answer": asked.answer})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
