"""Which languages are written in which letters, by the names that Unicode gives to characters. Torch-free."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LATIN = (
    "af ast az br bs ca cs cy da de en es et eu fi fr ga gl haw hr ht hu id is it jv la lb ln lt lv mg mi ms mt nl nn "
    "no oc pl pt ro sk sl sn so sq su sv sw tk tl tr uz vi yo"
)
CYRILLIC = "ba be bg kk mk mn ru sr tg tt uk"
SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LATIN.split(), ("LATIN",)),
    **dict.fromkeys(CYRILLIC.split(), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ps", "sd", "ur"), ("ARABIC",)),
    **dict.fromkeys(("he", "yi"), ("HEBREW",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("DEVANAGARI",)),
    **dict.fromkeys(("as", "bn"), ("BENGALI",)),
    **dict.fromkeys(("zh", "yue"), ("CJK", "FULLWIDTH", "BOPOMOFO")),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "FULLWIDTH", "HALFWIDTH"),
    "ko": ("HANGUL", "CJK", "HALFWIDTH"),
    "am": ("ETHIOPIC",), "bo": ("TIBETAN",), "el": ("GREEK",), "gu": ("GUJARATI",), "hy": ("ARMENIAN",),
    "ka": ("GEORGIAN",), "km": ("KHMER",), "kn": ("KANNADA",), "lo": ("LAO",), "ml": ("MALAYALAM",),
    "my": ("MYANMAR",), "pa": ("GURMUKHI",), "si": ("SINHALA",), "ta": ("TAMIL",), "te": ("TELUGU",), "th": ("THAI",),
}  # fmt: skip
"""First words of the Unicode names of a language's letters, by its code."""


def scripts_of(languages: Iterable[str]) -> frozenset[str]:
    """The scripts of languages together; KeyError names one that is not known."""
    return frozenset(script for language in languages for script in SCRIPTS[language])


def is_written_in(text: str, scripts: frozenset[str]) -> bool:
    """Return whether every letter of a text is of these scripts; digits, marks and signs belong to all."""
    return all(unicodedata.name(one, "?").split()[0] in scripts for one in text if unicodedata.category(one)[0] == "L")
