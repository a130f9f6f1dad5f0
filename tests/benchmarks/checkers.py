"""Compare the gradient checker with those of other libraries: ``python -m tests.benchmarks.checkers [--write]``.

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
        "A mutant counts as detected if a checker rejects it on any of its first {draws} ordinary inputs ({jax} for "
        "jax, which is slow); the search of tinygrad_norm draws 100 ordinary inputs and 100 special ones. In the rows "
        "with `.sum()`, the objective is the sum of the output, as in many tests. At the larger scale, only mutants "
        "are counted that a complex step can detect (relative error above 1e-4), because a saturated tanh has no "
        "gradient to get wrong, and only inputs at which the function is finite. `right functions rejected` counts the "
        "right functions that a checker rejects on any of their inputs. jax, autograd and torch in fast mode compare "
        "one projection of the gradient in one random direction, so whether a single input shows a fault depends on "
        "chance. torch in slow mode compares the whole Jacobian, with cotangents that are 1 once and 0 elsewhere, so "
        "it cannot detect squares and absolute values of the cotangent."
    ),
    "layer": (
        "{count} random inputs of 4 rows of 8, without weight and bias, eps 1e-3. The sum of the output of layer norm "
        "is constant, so the gradient of this sum is zero."
    ),
    "alarms": (
        "All {cases} right functions are checked on ordinary and special inputs. The first input is multiplied by "
        "1e-6, 1 and 1e6, and 0, 1e4 and 1e8 is added to it (nothing is added if it must be positive). One point is "
        "one gradient check of all inputs. Points with a zero gradient (smaller than rounding) and those lost in "
        "rounding (more than 5 % uncertain, or the function is not finite) are reported as such and not judged."
    ),
    "diagnosis": (
        "The held-out faults (tests/held_out_mutants.py) are faults of functions for which the diagnosis was not "
        "written: {count} faults, with {seeds}. Only the first sentence of a diagnosis counts, by its key words. For "
        "an `unknown` fault it is wrong to give a diagnosis; for all others it is wrong to give none."
    ),
    "real": (
        "These are backward passes as people write them (tests/real_code), each passed to `check_backward` as its "
        "author would: {kinds} kinds of function and {faults} faults that people report, {seeds}, at the normal "
        "budget. The seen half was used to develop the diagnosis, the unseen half was not; the words that make a "
        "diagnosis true or misleading were fixed beforehand. For some faults no diagnosis would help, so it is best to "
        "give none. For a right function, any verdict but `PASSED` counts as a false alarm; for a wrong one, any "
        "verdict that is not a fault counts as a miss. If forward keeps a cache, each call of backward needs a call of "
        "forward, which is counted."
    ),
    "calls": (
        "One gradient check of all inputs of the right functions, at {draws} ordinary inputs each. A search examines "
        "its first input like a single point, and the others along one direction only, unless the result is in doubt."
    ),
    "searches": (
        "`check_backward` at the normal budget with `strict=True`, which rejects shared memory and other dtypes; "
        "{seeds}. The time includes shrinking. The elements are those of all inputs of the smallest witness. The times "
        "were measured with another process running, so only their ratios carry over to other machines."
    ),
}


HEADINGS = (
    *("Detection", "A wrong layer norm", "Witnesses and times", "Diagnosis", "Real code", "Calls of forward"),
    "False alarms",
)


def page(sections: Mapping[str, str], quick: bool) -> str:
    """Return the document, which says how it was made."""
    how = "--quick --write" if quick else "--write"
    sample = " This is only a sample, not a measurement." if quick else ""
    versions = ", ".join(f"{name} {version(name) or 'missing'}" for name in ("numpy", "hypothesis", *LIBRARIES))
    head = [
        "# Benchmarks of the checker",
        "",
        f"`python -m tests.benchmarks.checkers {how}` made this page, with seed {SEED}, Python "
        f"{platform.python_version()}, {versions}.",
        f"{len(OF_VALUE)} of the {len(MUTANTS)} mutants have wrong values, which any checker can detect; "
        f"{len(CORRECT)} functions are right. Every checker gets the same float64 arrays and uses its own "
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
