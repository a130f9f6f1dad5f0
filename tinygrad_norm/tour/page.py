"""The page of the tour: results and pictures of every section, and links to the interactive pages."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import product

import numpy as np

import tinygrad_norm as tn

from ..datasets import Digits, split_digits
from ..engine.operators import Array
from ..table import Table
from .pictures import variant
from .report import LINKS, TITLE, Finding

# A table with more rows is collapsed; one with more columns becomes a list on a narrow page.
LONG, MANY = 5, 4
NARROW, DARK = "(max-width: 700px)", "(prefers-color-scheme: dark)"
ALTERNATIVES = {
    "a_shift.png": "Two plots by layer, with logarithmic scales, without normalization and with batch norm: the spread "
    "of features over the samples before training, and the movement of their means in ten training steps.",
    "batch_norm.svg": "The computation graph of batch norm: from x to its mean μ, to x − μ, to the variance σ² and to "
    "1/√(σ² + ε). The product of x − μ and 1/√(σ² + ε) is x̂; multiplied by γ and shifted by β, it is y.",
    "batch_norm_backward.svg": "The same graph with its gradient, drawn in dashed lines from dL/dy back to dL/dx, "
    "through x̂, the variance and the mean. Where the forward pass broadcasts, the gradient is a sum over axis 0.",
    "e_interaction.png": "Three plots. In the Jacobian of batch norm, each block of two samples is diagonal. In the "
    "Jacobian of layer norm, the blocks of each sample with itself are full and all others are zero. The third plot "
    "shows the distribution of one digit's x̂ over batches of 4, 32 and 512.",
    "g_race.png": "Two plots of the training loss by step, for ten layers and for one layer, each with four curves: no "
    "normalization, batch, layer and group norm.",
    "norms.svg": "Four cubes of samples, channels and positions, with the cells marked that share one mean: for batch "
    "norm one channel of all samples, for layer norm one sample, for instance norm one channel of one sample, for "
    "group norm half of the channels of one sample.",
}
"""Alternative texts of the pictures."""
ABOUT = {
    "bn.html": "The forward and backward pass, edge by edge, with all numbers.",
    "norms.html": "Batch, layer, instance and group norm on the same numbers, with the cells that share a mean.",
}


def page(findings: Sequence[Finding], seed: int) -> str:
    """Return the page of the tour."""
    style = (files("tinygrad_norm") / "tour" / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file:; style-src 'sha256-{digest}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{style}</style></head><body>"
        f"{_opening(findings, seed)}<main>{''.join(map(_section, findings))}</main></body></html>\n"
    )


def _opening(findings: Sequence[Finding], seed: int) -> str:
    items = "".join(
        f'<li><a href="#{escape(f.letter)}">{escape(f.letter)}. {escape(f.title)}</a>'
        f"<span>{escape(f.headline[0])}</span></li>"
        for f in findings
    )
    return (
        f'<header><h1>{TITLE}</h1><p class="lead">{_lead({f.letter: f for f in findings})}</p>'
        f'<nav class="pages" aria-label="Interactive pages">{"".join(map(_page_link, LINKS))}</nav>'
        f"{_digits(split_digits(seed))}"
        f'<p class="seed">Created by <code>tinygrad-norm tour --seed {seed}</code>, which computed every number on '
        'this page. <a href="report.md">report.md</a> has the same content as text.</p>'
        '<nav class="contents" aria-labelledby="contents"><h2 id="contents">Contents</h2>'
        f"<ol>{items}</ol></nav></header>"
    )


def _lead(found: dict[str, Finding]) -> str:
    g = found["g"].data
    return _prose(
        f"A network of {g['depth']} layers recognizes {g['without']:.1f} % of handwritten digits after {g['steps']} "
        f"training steps. With batch normalization it recognizes {g['with']:.1f} %. This page shows the effect of "
        "normalization on real activations, and how gradients flow through the mean and the variance. If these two are "
        f"held constant, the gradient is wrong by {found['c'].headline[0]}."
    )


def _page_link(name: str) -> str:
    # The cells that share a mean, for one norm or for two.
    shared = {(i, 1) for i in range(4)} | ({(1, j) for j in range(4)} if name == "norms.html" else set())
    cells = "".join(
        f'<rect class="cell{" marked" * ((i, j) in shared)}" x="{j}" y="{i}" width="1" height="1"/>'
        for i, j in product(range(4), repeat=2)
    )
    icon = f'<svg viewBox="-.1 -.1 4.2 4.2" aria-hidden="true">{cells}</svg>'
    return f'<a href="{name}">{icon}<span><strong>{LINKS[name]}</strong>{ABOUT[name]}</span></a>'


def _digits(digits: Digits) -> str:
    """Return one image of each digit, before and after batch norm."""
    first = [int(np.argmax(digits.train_labels == label)) for label in range(10)]
    y = tn.batch_norm(digits.train_images)
    rows = [
        _squares("ink", digits.train_images[first], 0),
        _squares("below", -y[first] / 3, 9),
        _squares("above", y[first] / 3, 9),
    ]
    label = "One image of each digit from 0 to 9, and below each the same image after batch norm"
    return (
        f'<figure class="digits"><svg viewBox="0 0 89 17" role="img" aria-label="{label}">'
        f"{''.join(rows)}</svg><figcaption>One image of each digit, and below it the same image after batch norm over "
        f"the {len(y)} training images. Each pixel then shows the number of standard deviations from its mean: blue "
        "below the mean, red above it, with full colour at 3 or more.</figcaption></figure>"
    )


def _squares(name: str, images: Array, down: int) -> str:
    """Return images of 8 x 8 values from 0 to 1 as squares with 16 levels of opacity."""
    levels = np.clip(np.rint(16 * images), 0, 16).astype(int).reshape(-1, 8, 8)
    paths = []
    for level in range(1, 17):
        squares = "".join(f"M{9 * n + j} {i + down}h1v1h-1z" for n, i, j in np.argwhere(levels == level))
        paths += [f'<path fill-opacity="{level / 16:g}" d="{squares}"/>'] if squares else []
    return f'<g class="{name}">{"".join(paths)}</g>'


def _section(f: Finding) -> str:
    letter, number = escape(f.letter), escape(f.headline[0])
    pictures = "".join(_picture(name, f.title) for name in f.files if name not in LINKS)
    links = "".join(f'<p><a href="{escape(name)}">{LINKS[name]}</a></p>' for name in f.files if name in LINKS)
    text = "".join(f"<p>{_prose(paragraph)}</p>" for paragraph in f.text.split("\n\n"))
    return (
        f'<section id="{letter}" aria-labelledby="{letter}-title">'
        f'<h2 id="{letter}-title">{letter}. {escape(f.title)}</h2>'
        f'<p class="claim">{_prose(f.claim)}</p>'
        f'<p class="headline{"" if f.holds else " against"}"><strong>{number}</strong> '
        f"<span>{_prose(f.headline[1])}</span></p>{pictures}"
        f'<div class="columns"><div><p>{_prose(f.number)} This {f.verdict.lower()} the claim.</p>{text}{links}</div>'
        f'<figure class="program"><figcaption>This program is complete. The last line of its output is '
        f"<samp>{number}</samp>.</figcaption><pre><code>{escape(f.code)}</code></pre></figure></div>"
        f'<div class="tables">{"".join(map(_table, f.tables))}</div></section>'
    )


def _prose(text: str) -> str:
    """Convert text to HTML, with text in backticks as code and without line breaks inside numbers."""
    code = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\d[\d.]*(?: %|e-\d+)", r'<span class="whole">\g<0></span>', code)


def _picture(name: str, title: str) -> str:
    sources = "".join(
        f'<source media="{media}" srcset="{escape(variant(name, NARROW in media, DARK in media))}">'
        for media in (f"{NARROW} and {DARK}", NARROW, DARK)
    )
    alternative = escape(ALTERNATIVES.get(name, title))
    return (
        f'<figure class="picture"><picture>{sources}<img src="{escape(name)}" alt="{alternative}"></picture></figure>'
    )


def _table(table: Table) -> str:
    html = f'<div class="{"many" if len(table.headings) > MANY else "few"}">{table.html()}</div>'
    if len(table.rows) <= LONG:
        return html
    return f"<details><summary>Table: {escape(table.title)}</summary>{html}</details>"
