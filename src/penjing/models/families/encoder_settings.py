"""What the shop must know about an encoder of texts, as plain JSON; sentence-transformers' files are heeded.

- `text`: settings of TextFrontEnd, None where the folder has no tokenizer; the default prompt is its `prefix`
- `pooling`: how the vectors of a text's tokens become one: mean, cls or max
- `embed_dim`: width of the vectors
- `normalise`: true, because cosines are taken: vectors are divided by their length
- `notes`: what a report should say of it, if anything
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing import bounded_json
from penjing.errors import ModelError, did_you_mean
from penjing.models.checkpoint import read_json
from penjing.models.families.text_graphs import text_inputs
from penjing.models.front_ends import longest_text, text_settings

MODULES, SENTENCES = "modules.json", "sentence_bert_config.json"
LIBRARY = "config_sentence_transformers.json"
STAGES = ("Transformer", "Pooling", "Normalize")
POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean",  # the same direction, and only directions are compared
}
NAMES = {"mean": "mean", "cls": "cls", "max": "max", "mean_sqrt_len_tokens": "mean"}


def encoder_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Read everything the shop must know; `folder` is the checkpoint's, None for a network without one."""
    text = text_settings(folder, text_inputs(net), longest_text(net.config, net.embeddings))
    if text is not None and folder is not None and (folder / SENTENCES).is_file():
        found = read_json(folder / SENTENCES)
        text["max_length"] = min(text["max_length"], int(found.get("max_seq_length") or text["max_length"]))
        text["lower"] = bool(text["lower"] or found.get("do_lower_case"))
    if text is not None and folder is not None:
        prefix = default_prompt(folder)
        text |= {"prefix": prefix} if prefix else {}
    pooling = "mean" if folder is None else pooling_of(folder)
    settings = {"text": text, "pooling": pooling, "embed_dim": int(net.config.hidden_size), "normalise": True}
    notes = [] if folder is None else similarity_notes(folder)
    return {**settings, "notes": notes} if notes else settings


def similarity_notes(folder: Path) -> list[str]:
    """What to know of a checkpoint whose vectors are meant to be compared otherwise than by their cosine."""
    name = _library_config(folder).get("similarity_fn_name")
    if name in (None, "cosine"):
        return []
    return [f"texts are compared by cosine; {LIBRARY} asks for {name!s:.40} (similarity_fn_name)"]


def default_prompt(folder: Path) -> str:
    """What sentence-transformers writes before every text where no other prompt is named; empty for nothing.

    Raises:
        ModelError: the default prompt is not among those named, or its tokens are left out of the pooling.
    """
    config = _library_config(folder)
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if name is None:
        return ""
    prompt = prompts.get(name) if isinstance(prompts, dict) else None
    if not isinstance(prompt, str):
        raise ModelError(f"{folder / LIBRARY} has no prompt {name!r}, its default", hint="copy it again")
    pooling = _pooling_file(folder)
    if prompt and pooling.is_file() and read_json(pooling).get("include_prompt", True) is False:
        raise ModelError(
            f"{pooling} leaves the prompt out of the pooling, which penjing does not",
            hint=f"without default_prompt_name in {LIBRARY} texts are embedded as they are",
        )
    return prompt


def _library_config(folder: Path) -> dict[str, Any]:
    """The configuration that sentence-transformers wrote; empty where there is none."""
    return read_json(folder / LIBRARY) if (folder / LIBRARY).is_file() else {}


def pooling_of(folder: Path) -> str:
    """How sentence-transformers pools the tokens of this checkpoint; the mean where its files are not there."""
    path = _pooling_file(folder)
    return _named(read_json(path), path) if path.is_file() else "mean"


def _pooling_file(folder: Path) -> Path:
    """The configuration of the pooling, which may not be there.

    Raises:
        ModelError: a stage that penjing does not know.
    """
    place = "1_Pooling"
    for stage in _stages(folder / MODULES):
        kind = str(stage.get("type", "")).rpartition(".")[2]
        if kind not in STAGES:
            raise ModelError(
                f"{folder}: {MODULES} has a stage {kind!r} that penjing does not know",
                hint=f"known: {', '.join(STAGES)}; without {MODULES} the transformer alone is compressed",
            )
        place = str(stage.get("path")) if kind == "Pooling" else place
    return folder / place / "config.json"


def _stages(path: Path) -> list[dict[str, Any]]:
    """The stages that modules.json lists; none where there is no such file."""
    if not path.is_file():
        return []
    try:
        found = bounded_json.read_json(path)
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} {error}", hint="copy it from the original model") from error
    if not isinstance(found, list) or not all(isinstance(stage, dict) for stage in found):
        raise ModelError(f"{path} is not a list of stages", hint="copy it from the original model")
    return found


def _named(config: dict[str, Any], path: Path) -> str:
    """The one way of pooling that a file names, in its old spelling (a flag per way) or its new one (a name)."""
    name = config.get("pooling_mode")
    if isinstance(name, str):
        if name not in NAMES:
            raise ModelError(f"{path}: unknown pooling {name!r}", hint=did_you_mean(name, [*NAMES]))
        return NAMES[name]
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(flags) != 1 or flags[0] not in POOLING:
        raise ModelError(f"{path} pools by {', '.join(flags) or 'nothing'}", hint=f"known: one of {', '.join(POOLING)}")
    return POOLING[flags[0]]
