"""Pages of one file: style, script and data stand in them, and a policy forbids whatever else one could bring in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .text import literal, shortened


def page_of(template: Path, scripts: Sequence[Path], title: str, data: Any) -> str:
    """Return a page of one file, which asks for nothing when it is opened.

    Parameters
    ----------
    template : Path
        Of the HTML; the style lies beside it, ending in .css.
    scripts : sequence of Paths
        In the order in which they run.
    title : str
        As text. A long one is shortened, and whole where a pointer rests on it.
    data : lists, dicts, strings, numbers
        What the script reads.
    """
    style = template.with_suffix(".css").read_text(encoding="utf-8")
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    shown = escape(shortened(title))
    html = Template(template.read_text(encoding="utf-8")).substitute(
        title=shown,
        whole="" if shown == escape(title) else f' title="{escape(title)}"',
        policy=f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        data=as_json(data),
    )
    # Half a pair has no encoding: it is written out, as in drawings.
    return re.sub(r"[\ud800-\udfff]", lambda half: literal(half[0]), html)


def as_json(data: Any) -> str:
    """Return JSON that can stand inside a script element: no ``<``, no ``&``, no line separators, no NaN."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
