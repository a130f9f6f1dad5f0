"""The ``tinygrad-norm`` command."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata

import tinygrad_norm as tn

from . import tour
from .graph import RenderError
from .nn.family import family_tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="tinygrad-norm", description="Backpropagation through normalization: the story, on real data."
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_norm {tn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    story = commands.add_parser(
        "tour", help="the story of batch normalization on handwritten digits, with numbers and files"
    )
    story.add_argument("--out", required=True, metavar="DIR", help="where to write the report and the pictures")
    story.add_argument("--seed", type=int, default=0, help="the same seed gives the same numbers (default: 0)")
    story.set_defaults(run=lambda options: tour.run(options.out, options.seed))
    info = commands.add_parser("info", help="what is installed, or the family of normalizations")
    info.add_argument("topic", nargs="?", choices=["norms"], help="norms: what each is normalized over, and made of")
    info.set_defaults(run=lambda options: print(_family() if options.topic else _installed()))
    options = parser.parse_args(arguments)
    if getattr(options, "seed", 0) < 0:
        parser.error("--seed must not be negative")
    try:
        options.run(options)
    except (OSError, RenderError) as error:
        print(f"tinygrad-norm: {error}", file=sys.stderr)
        return 1
    return 0


def _family() -> str:
    """Return the family table, and below it what each member is made of."""
    runs_over, made_of = family_tables()
    parts = []
    for name, *cells in made_of.cells():
        lines = (f"  {heading:<11} {cell}" for heading, cell in zip(made_of.headings[1:], cells, strict=True))
        parts.append("\n".join([name, *lines]))
    return "\n\n".join([runs_over.text(), made_of.title, *parts])


def _installed() -> str:
    """Return versions, and what is optional and here or not."""
    lines = [("tinygrad_norm", tn.__version__), ("Python", platform.python_version())]
    optional = {
        "numpy": "", "graphviz": "", "hypothesis": "", "wasmtime": "pictures without Graphviz's dot",
        "matplotlib": "plots; pip install 'tinygrad_norm[plot]'",
        "safetensors": "state files; pip install 'tinygrad_norm[files]'",
        "scipy": "the exact GELU; pip install scipy",
    }  # fmt: skip
    for package, purpose in optional.items():
        try:
            lines.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            lines.append((package, f"not installed ({purpose})"))
    lines.append(("dot", shutil.which("dot") or "not on PATH (needed for .png and .pdf only)"))
    return "\n".join(f"{name:<14} {what}" for name, what in lines)
