"""The result of each pass as readable formulas."""

from __future__ import annotations

from collections.abc import Iterator

from .algebra import choose_loops, with_collected_terms, with_linear_sums
from .names import words
from .primitives import written
from .run import Fused
from .terms import SUMS, Program, Term, below


def stages(fused: Fused) -> Iterator[tuple[str, str]]:
    """Yield a title and formulas for each pass of the latest call, starting with the recording."""
    made = fused.latest().plan.stages
    (backward, *_), kept = made.backward, made.forward.loops.kept
    yield "recorded forward", formulas(made.traced.forward)
    yield "recorded backward", formulas(made.traced.backward[0])
    yield "statistics saved", formulas(backward)
    loops = choose_loops(backward, kept)
    split = with_linear_sums(backward, loops)
    yield "sums are linear", formulas(split)
    yield "constants in front", formulas(with_collected_terms(split, loops))


def formulas(program: Program) -> str:
    """Write a program with a line for each result, each sum, and each term that has a name or is used twice."""
    terms = list(below(output.term for output in program.outputs))
    uses = [a for t in terms for a in t.args]
    text: dict[Term, str] = dict(program.numbers)
    results = {output.term: output.name for output in program.outputs}
    lines = []

    def expression(term: Term, binding: int = 0) -> str:
        if term in text:
            return text[term]
        if term.op in ("input", "number"):
            return str(term.value) if term.op == "input" else f"{term.value:g}"
        if term.op == "count":
            line = " * ".join(a.upper() for a in sorted(term.value, key="ncshw".find))
            return f"({line})" if " " in line else line
        if term.op in SUMS:
            over = "".join(sorted(term.reduced, key="ncshw".find))
            return f"{term.op}_{over}({expression(term.args[0])})"
        return written(term.op, term.args, binding, expression)

    for t in terms:
        name = results.get(t) or program.terms.names.get(t)
        if not name and t.args and (t.op in SUMS or uses.count(t) > 1):
            name = words(t, program.terms.names)
        if name and t.op not in ("input", "number", "count"):
            line = expression(t)
            while name in text.values():
                name += "_"
            lines.append(f"{name} = {line}")
            text[t] = name
    return "\n".join(lines).replace("one /", "1 /")
