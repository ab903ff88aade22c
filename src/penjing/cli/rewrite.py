"""Write the page of an artifact anew, and its new hash into the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import NAME, json_text
from penjing.artifact.whole_file import write_whole
from penjing.errors import ArtifactError
from penjing.report.document import parse
from penjing.report.html import render

PAGE = "report.html"


def rewrite_page(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write report.html from the manifest; needs the extra `report`. Links that stand there are replaced."""
    document = parse(manifest)
    page = render(document).encode()
    listed = {**manifest["files"], PAGE: hashlib.sha256(page).hexdigest()}
    try:
        write_whole(folder / PAGE, page)
        write_whole(folder / NAME, json_text({**manifest, "files": listed}).encode())
    except OSError as error:
        raise ArtifactError(
            f"cannot write {folder / PAGE}: {error.strerror}", hint="copy it to a place of your own"
        ) from error
    return folder / PAGE
