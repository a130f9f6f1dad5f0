"""How well the gradient checker checks, beside those of others: ``python -m tests.benchmarks.checkers [--write]``.

Every checker gets the same faulty gradients (`tinygrad_norm.check.mutants`) and the same inputs, each by the door that
it has for gradients written by hand, in float64 and with its own defaults. What rejects everything would detect
everything, so the right gradients (`tinygrad_norm.check.correct`) are tried as well. With ``--write`` the tables become
docs/checking-figures.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis.configuration import set_hypothesis_home_dir

from tests.held_out_mutants import HELD_OUT
from tinygrad_norm.check.correct import CORRECT
from tinygrad_norm.check.mutants import MUTANTS
from tinygrad_norm.table import Table

from .figures import JAX_DRAWS, OF_VALUE, detection, false_alarms, wrong_layer_norm
from .peers import DRAWS, LIBRARIES, SEED, version
from .real import CALLS_DRAWS, CODES, calls_of_forward, real_code
from .searches import SEEDS, Search, diagnoses, every_search, sizes_and_times

PAGE = Path(__file__).parents[2] / "docs" / "checking-figures.md"


def _prepared() -> None:
    """Make a worker that leaves no files behind and uses one core."""
    set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "hypothesis"))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if version("torch"):
        import torch

        torch.set_num_threads(1)


NOTES = {
    "detection": (
        "A mutant counts as detected if a checker rejects it on any of the first {draws} ordinary inputs of its own "
        "({jax} for jax, which is slow); the search of tinygrad_norm draws its own 100 ordinary inputs and 100 edges. "
        "Before `sum` stands what many do: the objective is the sum of the output. At the larger scale the mutants are "
        "those that a complex step can see at all (relative error above 1e-4), for a saturated tanh has no gradient to "
        "get wrong; the inputs are those at which the function is finite. `right functions rejected` counts those of "
        "the right functions that are rejected on any of their inputs, by whoever is told the same. jax and autograd "
        "compare one projection of the gradient in one random direction, torch in fast mode likewise, so one input is "
        "one roll of the dice; torch in slow mode compares all of the Jacobian, by cotangents that are 1 once and 0 "
        "elsewhere, at which squares and absolute values of the cotangent cannot be seen."
    ),
    "layer": (
        "{count} random inputs of 4 rows of 8, without weight and bias, eps 1e-3. For the sum of its output, which is "
        "constant, a layer norm's gradient is null."
    ),
    "alarms": (
        "All {cases} right functions, ordinary inputs and edges, the first input times 1e-6, 1 and 1e6 and plus 0, 1e4 "
        "and 1e8 (only times, where it must be positive). One point is one gradient check of all inputs. A null "
        "gradient (rounding is larger than all of it) and one lost in rounding (more than 5 % uncertain, or a function "
        "that is not finite there) are said to be so, and are neither right nor wrong."
    ),
    "diagnosis": (
        "The held-out faults (tests/held_out_mutants.py) are of functions that the diagnosis was not written for, "
        "{count} of them with {seeds}; only the first sentence counts, by its key words. Wrong to say something of "
        "`unknown` faults, and nothing of the others."
    ),
    "real": (
        "Backward passes as people write them (tests/real_code), each put to `check_backward` as its author would: "
        "{kinds} kinds of function and {faults} faults that people report, {seeds}, at the normal budget. The "
        "diagnosis was written with the seen half in view, and without the unseen half; the words that make a "
        "diagnosis true or misleading were fixed beforehand. Of some faults nothing can be said that helps: there "
        "silence is the best. What a right function gets but `PASSED` counts as a false alarm, and what a wrong one "
        "gets but a fault as a miss. Where forward keeps a cache, each call of backward needs one of forward, which "
        "is counted."
    ),
    "calls": (
        "One gradient check of all inputs of the right functions, at {draws} ordinary inputs each. A search looks at "
        "its first input as at a single point, and at others along one direction, unless that leaves doubt."
    ),
    "searches": (
        "`check_backward` at the normal budget with `strict=True`, which rejects shared memory and other dtypes; "
        "{seeds}. Shrinking is part of the time; the elements are those of all inputs of the smallest witness. Seconds "
        "are of one process beside another; only their proportions travel."
    ),
}


HEADINGS = (
    *("Detection", "A wrong layer norm", "Witnesses and times", "Diagnosis", "Real code", "Calls of forward"),
    "False alarms",
)


def page(sections: Mapping[str, str], quick: bool) -> str:
    """Return the document, which says how it was made."""
    how = "--quick --write" if quick else "--write"
    sample = " This is a sample of them, to look at, not a measurement." if quick else ""
    versions = ", ".join(f"{name} {version(name) or 'missing'}" for name in ("numpy", "hypothesis", *LIBRARIES))
    head = [
        "# How well the checker checks",
        "",
        f"Made by `python -m tests.benchmarks.checkers {how}`, seed {SEED}, with Python {platform.python_version()}, "
        f"{versions}.",
        f"{len(OF_VALUE)} of the {len(MUTANTS)} mutants have faults of value, which any checker can see; "
        f"{len(CORRECT)} functions are right. Every checker is given float64, the same arrays, and its own "
        f"defaults.{sample}",
    ]
    written = [f"\n## {heading}\n\n{sections[heading]}" for heading in HEADINGS if heading in sections]
    return "\n".join([*head, *written]) + "\n"


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a page by their headings."""
    parts = (part.partition("\n\n") for part in text.split("\n## ")[1:])
    return {heading: body.rstrip() for heading, _, body in parts}


PARTS = ("detection", "layer norm", "searches", "diagnosis", "real code", "calls", "false alarms")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checkers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few mutants and inputs: a look, not a measurement")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="these parts only")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args(arguments)
    # Of some parts alone, the others stay as they are.
    some = {*options.only} < {*PARTS} and PAGE.exists()
    sections = sections_of(PAGE.read_text(encoding="utf-8")) if some else {}
    # New workers now and then: jax keeps what it compiles for every shape.
    with multiprocessing.get_context("spawn").Pool(options.workers, _prepared, maxtasksperchild=100) as pool:

        def spread(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
            return pool.imap(function, list(tasks), chunksize=1)

        def add(heading: str, note: str, make: Callable[[], Sequence[Table]]) -> None:
            start = time.perf_counter()
            tables = make()
            sections[heading] = "\n\n".join([note, *(table.markdown() for table in tables)])
            print(f"\n{heading}: {time.perf_counter() - start:.0f} s")
            print("\n\n".join(table.text() for table in tables), flush=True)
            if options.write:
                PAGE.write_text(page(sections, quick), encoding="utf-8")

        quick = options.quick
        searches: list[Search] = []
        if {"searches", "detection"} & set(options.only):
            start = time.perf_counter()
            searches = every_search(quick, spread)
            print(f"whole checks: {time.perf_counter() - start:.0f} s")
        if "detection" in options.only:
            note = NOTES["detection"].format(draws=DRAWS, jax=JAX_DRAWS)
            add("Detection", note, lambda: detection(quick, spread, searches))
        if "layer norm" in options.only:
            note = NOTES["layer"].format(count=5 if quick else 40)
            add("A wrong layer norm", note, lambda: wrong_layer_norm(quick, spread))
        if "searches" in options.only:
            seeds = "seed 0" if quick else f"seeds 0 to {SEEDS - 1}"
            add("Witnesses and times", NOTES["searches"].format(seeds=seeds), lambda: sizes_and_times(searches))
        if "diagnosis" in options.only:
            note = NOTES["diagnosis"].format(count=len(HELD_OUT), seeds="seed 0" if quick else "seeds 0 to 4")
            add("Diagnosis", note, lambda: diagnoses(quick, spread))
        if "real code" in options.only:
            seeds = "seed 0" if quick else f"seeds 0 to {SEEDS - 1}"
            note = NOTES["real"].format(kinds=len(CODES), faults=sum(len(code.wrong) for code in CODES), seeds=seeds)
            add("Real code", note, lambda: real_code(quick, spread))
        if "calls" in options.only:
            note = NOTES["calls"].format(draws=2 if quick else CALLS_DRAWS)
            add("Calls of forward", note, lambda: calls_of_forward(quick, spread))
        if "false alarms" in options.only:
            add("False alarms", NOTES["alarms"].format(cases=len(CORRECT)), lambda: false_alarms(quick, spread))


if __name__ == "__main__":
    main()
