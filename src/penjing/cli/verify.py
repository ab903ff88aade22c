"""`penjing verify`: every file of an artifact is what its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing.cli.options import Debug, Json
from penjing.cli.output import say_json


def verify(
    artifact: Annotated[str, typer.Argument(help="The folder of an artifact.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Read every file of an artifact and compare its sha256 with the manifest; a difference ends with exit code 2.

    Commands that open an artifact compare what they run by themselves; this one reads checkpoint/, reports and card
    too, and remembers nothing. Files that the manifest does not list are named: no command ever runs them.
    """
    from penjing.artifact import manifest as manifests
    from penjing.report.numbers import bytes_text

    folder = Path(artifact)
    manifest = manifests.read_manifest(folder)
    files = manifests.verify(folder, manifest)
    unlisted = manifests.unlisted_files(folder, files)
    size_bytes = sum((folder / name).stat().st_size for name in files)
    if json:
        say_json(
            {"artifact": artifact, "verified": True, "files": files, "size_bytes": size_bytes, "unlisted": unlisted}
        )
        return
    print(f"{artifact}: {len(files)} files, {bytes_text(size_bytes)}, each as it was measured")
    for name in unlisted:
        print(f"not listed, so never run: {name}")
