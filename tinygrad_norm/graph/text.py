"""Texts in pictures: names are drawn literally, and never interpreted as markup."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LONGEST_NAME = 80


def shortened(text: str) -> str:
    """Shorten a text to at most 80 characters."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def drawable(text: str) -> str:
    """Return text with control characters as their symbols, and other invisible characters written out."""
    return "".join(map(_drawable, text))


def escaped(text: str) -> str:
    """Escape text for Graphviz, including ``&``, because Graphviz decodes entities."""
    return drawable(text).replace("&", "&amp;").replace("\\", "\\\\")


def literal(text: str) -> str:
    """Escape text for Graphviz, shortened to 80 characters."""
    return escaped(shortened(text))


def in_words(shape: Sequence[int]) -> str:
    """Return a shape in words: ``8×3``, ``scalar``."""
    return "×".join(map(str, shape)) or "scalar"


def _drawable(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"U+{code:04X}"
    return character
