"""Chains of distortions applied to rows, with the media written to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penjing.data.row import Row
from penjing.data.shifts.audio import is_silent
from penjing.data.shifts.inputs import MediaNames, media_source
from penjing.data.shifts.media import Clip, is_constant, naming, read_clip, read_picture, write_clip, write_picture
from penjing.data.shifts.registry import Distortion, Modality
from penjing.data.shifts.seeds import digest_of, generator

Chain = Sequence[Distortion]


class Distorted(NamedTuple):
    """A file or text after distortions.

    `is_empty`: silence, one constant image or no text is left (such media are not written). `is_unchanged`: the
    distortions did nothing, such as capitals in a script that has none.
    """

    content: Path | str
    is_empty: bool
    is_unchanged: bool


@dataclass(frozen=True, slots=True)
class Distorter:
    """Distorts rows; one picture or sound is in memory at a time.

    Args:
        folder: where WAV (float32, mono, the rate of the file) and PNG files are written; made when first needed.
        seed: of every random draw, together with the names of the file or row and of the distortion.
        names: of the media; rows that share a file share the distorted one.
    """

    folder: Path
    seed: int
    names: MediaNames
    _written: dict[tuple[str, ...], Distorted] = field(default_factory=dict)

    def distorted(
        self, row: Row, columns: Sequence[str], chain: Chain, variant: str = ""
    ) -> tuple[Row, list[Distorted]]:
        """Distort columns of a row.

        Args:
            row: the row.
            columns: all of the modality of the chain.
            chain: distortions of one modality, applied in this order.
            variant: tells apart several results of one row and chain.

        Returns:
            The row with these columns replaced, and what became of each of them.
        """
        fields, media = dict(row.fields), {"file": row.file, "spoken": row.spoken}
        results: list[Distorted] = []
        for column in columns:
            source = media_source(row, column)
            if chain[0].modality == "text":
                results.append(self._text(row.fields[column], (row.id, column, variant), chain))
                fields[column] = str(results[-1].content)
            elif source is not None:
                with naming(row):
                    results.append(self._media(source, chain, variant))
                media[column] = Path(results[-1].content)
        return replace(row, fields=fields, file=media["file"], spoken=media["spoken"]), results

    def _text(self, text: str, names: Sequence[str], chain: Chain) -> Distorted:
        changed = text
        for distortion in chain:
            changed = distortion.apply(changed, generator(self.seed, *names, distortion.name))
        return Distorted(changed, not changed.strip(), changed == text)

    def _media(self, source: Path | bytes, chain: Chain, variant: str) -> Distorted:
        modality: Modality = chain[0].modality
        names = (self.names.of_source(source), modality, variant)
        key = (*names, *(distortion.name for distortion in chain))
        if key not in self._written:
            self.folder.mkdir(parents=True, exist_ok=True)
            title = "-".join((*key[3:], digest_of(self.seed, *key).hex()[:20]))
            generators = [generator(self.seed, *names, distortion.name) for distortion in chain]
            make = _distorted_clip if modality == "audio" else _distorted_picture
            self._written[key] = make(source, self.folder / title, chain, generators)
        return self._written[key]


def _distorted_clip(
    source: Path | bytes, stem: Path, chain: Chain, generators: Sequence[np.random.Generator]
) -> Distorted:
    """Write a distorted sound as `stem`.wav."""
    clip = read_clip(source)
    samples = clip.samples
    for distortion, rng in zip(chain, generators, strict=True):
        samples = distortion.apply(samples, clip.rate_hz, rng)
    path, silent = stem.with_name(f"{stem.name}.wav"), is_silent(samples, clip.rate_hz)
    if not silent:
        write_clip(path, Clip(samples, clip.rate_hz))
    return Distorted(path, silent, np.array_equal(samples, clip.samples))


def _distorted_picture(
    source: Path | bytes, stem: Path, chain: Chain, generators: Sequence[np.random.Generator]
) -> Distorted:
    """Write a distorted picture as `stem`.png."""
    picture = read_picture(source)
    image = picture
    for distortion, rng in zip(chain, generators, strict=True):
        image = distortion.apply(image, rng)
    path, constant = stem.with_name(f"{stem.name}.png"), is_constant(image)
    if not constant:
        write_picture(path, image)
    return Distorted(path, constant, np.array_equal(np.asarray(image), np.asarray(picture)))
