"""The list of common mistakes, which `mistakes.toml` holds: the exercises and two pages of the documents use it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Mistake:
    """A common mistake.

    Attributes
    ----------
    title : str
    wrong, survives, mend : str
        What is wrong, why it is not noticed, and what to write instead, in Markdown.
    shown : str
        The wrong answer that shows it, as ``"normalize.sums"``; "" if it is no exercise's.
    sources : tuple of str
        Addresses of reports of it, of questions that make it, or of code that has it.
    """

    title: str
    wrong: str
    survives: str
    mend: str
    shown: str = ""
    sources: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Where the site describes it: a page, and the heading on it."""
        file = "learn/common-mistakes.html" if self.shown else "published-faults.html"
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")
        return f"{file}#{anchor}"


def _read() -> dict[str, Mistake]:
    entries = tomllib.loads(files(__package__).joinpath("mistakes.toml").read_text(encoding="utf-8"))
    found = {}
    for key, entry in entries.items():
        sources = tuple(entry.pop("sources", ()))
        found[key] = Mistake(**{name: " ".join(text.split()) for name, text in entry.items()}, sources=sources)
    return found


MISTAKES = _read()
"""By their keys, which wrong answers name."""
