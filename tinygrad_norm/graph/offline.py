"""Self-contained HTML pages, with style, script and data inside. Their security policy forbids everything else."""

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
    """Return a self-contained page, which makes no requests.

    Parameters
    ----------
    template : Path
        The HTML file. Its style is the .css file of the same name.
    scripts : sequence of Paths
        The scripts, in the order in which they run.
    title : str
        Plain text. A long title is shortened, with a tooltip.
    data : lists, dicts, strings, numbers
        The data for the script.
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
    # A lone surrogate has no encoding. It is written out, as in drawings.
    return re.sub(r"[\ud800-\udfff]", lambda half: literal(half[0]), html)


def as_json(data: Any) -> str:
    """Return JSON that is safe inside a script element: no ``<``, no ``&``, no line separators, no NaN."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
