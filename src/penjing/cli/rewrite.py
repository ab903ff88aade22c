"""Write the page of an artifact anew, and its new hash into the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import NAME, file_hash, write_json
from penjing.errors import ArtifactError
from penjing.report.document import parse
from penjing.report.html import write_report

PAGE = "report.html"


def rewrite_page(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write report.html from the manifest; needs the extra `report`."""
    document = parse(manifest)
    partial = folder / f".{NAME}.partial"
    try:
        write_report(document, folder / PAGE)
        write_json(partial, {**manifest, "files": {**manifest["files"], PAGE: file_hash(folder / PAGE)}})
        os.replace(partial, folder / NAME)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {folder / PAGE}: {error.strerror}", hint="copy it to a place of your own"
        ) from error
    return folder / PAGE
