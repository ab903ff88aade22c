"""Results on the terminal: the table of an artifact, and of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def show_artifact(folder: Path) -> None:
    """Print the before/after table of an artifact."""
    from rich.console import Console

    from penjing.report.document import read
    from penjing.report.tables import print_result

    print_result(Console(), read(folder / "penjing.json"))


def show_evaluation(found: dict[str, Any]) -> None:
    """Print measures, alone or side by side, and goals."""
    from rich.console import Console

    from penjing.report.tables import print_evaluation

    print_evaluation(Console(), found)
