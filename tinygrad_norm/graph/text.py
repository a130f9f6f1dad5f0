"""Texts in pictures: whatever a name contains is drawn as it is, and nothing in it is markup."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LONGEST_NAME = 80


def shortened(text: str) -> str:
    """Return a text of at most 80 characters."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def drawable(text: str) -> str:
    """Return text that is drawn as it is: control characters as their pictures, bidirectional controls written out."""
    return "".join(map(_drawable, text))


def escaped(text: str) -> str:
    """Return text that Graphviz draws as it is; ``&`` is escaped, because Graphviz decodes entities."""
    return drawable(text).replace("&", "&amp;").replace("\\", "\\\\")


def literal(text: str) -> str:
    """Return text that Graphviz draws as it is, whatever it contains; over 80 characters it is shortened."""
    return escaped(shortened(text))


def in_words(shape: Sequence[int]) -> str:
    """Return a shape as pictures show it: ``8×3``, ``scalar``."""
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
