"""The ``tinygrad-norm`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import tinygrad_norm as tn

from . import tour
from .graph import RenderError


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
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error("--seed must not be negative")
    try:
        tour.run(options.out, options.seed)
    except (OSError, RenderError) as error:
        print(f"tinygrad-norm: {error}", file=sys.stderr)
        return 1
    return 0
