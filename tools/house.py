"""Check the numbers of the house: file and function sizes, docstrings, tests without a check, tests per source line."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

MAX_FILE_LINES = 400
MAX_MEDIAN_LINES = 130
MAX_FUNCTION_LINES = 60
MIN_TESTS_PER_SOURCE = 0.8
BANNED_NAMES = {"utils", "helpers", "common", "core", "manager", "session", "state", "context"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions_too_long(path: Path, tree: ast.Module) -> list[str]:
    """List functions of more than MAX_FUNCTION_LINES lines."""
    return [
        f"{path}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines (max {MAX_FUNCTION_LINES})"
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and node.end_lineno and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def tests_without_check(path: Path, tree: ast.Module) -> list[str]:
    """List tests that neither assert, nor expect an error, nor call a function named check_*."""
    empty = []
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and node.name.startswith("test_"):
            text = ast.dump(node)
            if not any(word in text for word in ("Assert(", "'raises'", "assert_", "'warns'", "id='check_")):
                empty.append(f"{path}:{node.lineno} {node.name} checks nothing")
    return empty


def source_complaints(files: list[Path]) -> list[str]:
    """Check sizes and names of the source files."""
    complaints = []
    lengths = []
    for path in files:
        text = path.read_text(encoding="utf8")
        count = text.count("\n")
        if path.name != "__init__.py":
            lengths.append(count)
        if count > MAX_FILE_LINES:
            complaints.append(f"{path} has {count} lines (max {MAX_FILE_LINES})")
        if BANNED_NAMES & set(path.with_suffix("").parts):
            complaints.append(f"{path}: a name that says nothing")
        complaints += functions_too_long(path, ast.parse(text))
    median = statistics.median(lengths)
    if median > MAX_MEDIAN_LINES:
        complaints.append(f"median file has {median:.0f} lines (max {MAX_MEDIAN_LINES})")
    return complaints


def main() -> int:
    """Print every complaint; exit 1 when there is one."""
    source = sorted(Path("src").rglob("*.py"))
    tests = sorted(Path("tests").rglob("*.py"))
    complaints = source_complaints(source)
    for path in tests:
        complaints += tests_without_check(path, ast.parse(path.read_text(encoding="utf8")))
    source_lines, test_lines = (sum(p.read_text(encoding="utf8").count("\n") for p in part) for part in (source, tests))
    if test_lines < MIN_TESTS_PER_SOURCE * source_lines:
        complaints.append(f"{test_lines} lines of tests for {source_lines} of source (min {MIN_TESTS_PER_SOURCE})")
    print(*complaints, sep="\n")
    print(f"house: {len(source)} source files, {source_lines} lines, {test_lines} lines of tests")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
