"""The two lists of distortions: what is in them, what calibration never sees, and that the page says the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penjing.data.shifts import random_strengths, text
from penjing.data.shifts.registry import AUGMENTATIONS, GATE_ONLY, GATE_SHIFTS, gate_shift, of_modality

pytestmark = pytest.mark.shop

PAGE = Path(__file__).parents[3] / "docs" / "shift.md"
GATE_FUNCTIONS = {"babble", "gsm_codec", "clipping", "occlusion", "moire", "rotation"}


def function_of(apply: Any) -> Any:
    return getattr(apply, "func", apply)


def test_numbers_and_names() -> None:
    assert Counter(kind.modality for kind in GATE_SHIFTS) == {"audio": 11, "image": 8, "text": 3}
    assert Counter(kind.modality for kind in AUGMENTATIONS) == {"audio": 5, "image": 5, "text": 3}
    assert len({kind.name for kind in GATE_SHIFTS}) == len(GATE_SHIFTS)
    assert len({(kind.modality, kind.name) for kind in AUGMENTATIONS}) == len(AUGMENTATIONS)
    assert gate_shift("moire").modality == "image"
    assert [kind.name for kind in of_modality(GATE_SHIFTS, "text")] == ["upper_case", "typos", "no_punctuation"]
    with pytest.raises(KeyError):
        gate_shift("moiré")


def test_calibration_never_sees_what_only_the_gate_uses() -> None:
    assert {kind.name for kind in GATE_SHIFTS} >= GATE_ONLY
    assert not {kind.name for kind in AUGMENTATIONS} & GATE_ONLY
    assert {function_of(gate_shift(name).apply).__name__ for name in GATE_ONLY} == GATE_FUNCTIONS


@pytest.mark.parametrize("kind", AUGMENTATIONS, ids=lambda kind: f"{kind.modality}-{kind.name}")
def test_no_augmentation_calls_a_function_of_the_gate_alone(kind: Any) -> None:
    function = function_of(kind.apply)
    assert function.__name__ not in GATE_FUNCTIONS
    assert not set(function.__code__.co_names) & GATE_FUNCTIONS
    assert function.__module__ in (random_strengths.__name__, text.__name__)


@pytest.mark.parametrize(("heading", "kinds"), [("The gate", GATE_SHIFTS), ("Calibration", AUGMENTATIONS)])
def test_the_page_lists_every_kind_with_its_strength(heading: str, kinds: Any) -> None:
    section = PAGE.read_text(encoding="utf8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (audio|image|text) \| `(\w+)` \| ([^|]+?) \|", section, re.M)
    assert rows == [(kind.modality, kind.name, kind.strength) for kind in kinds]


def test_the_page_says_which_kinds_calibration_has_nothing_alike_of() -> None:
    section = PAGE.read_text(encoding="utf8").split("## The gate\n")[1].split("\n## ")[0]
    alone = re.findall(r"^\| \w+ \| `(\w+)` \| [^|]+ \| gate alone \|", section, re.M)
    assert set(alone) == GATE_ONLY
