"""Names for terms without a name in the graph, built from what they are computed from."""

from __future__ import annotations

from collections.abc import Mapping

from .terms import SUMS, Term


def total_words(s: Term, names: Mapping[Term, str]) -> str:
    return {"max": "largest_", "min": "smallest_"}.get(s.op, "sum_") + words(s.args[0], names)


_SAID = {"exp": "exp", "log": "log", "tanh": "tanh", "sigmoid": "sigmoid", "sqrt": "root", "finite": "finite"}


def words(term: Term, names: Mapping[Term, str], room: int = 2) -> str:
    """Return the name of a term, or one built from the names of its arguments."""
    if term in names or term.op in ("input", "count"):
        return names[term] if term in names else "n" if term.op == "count" else str(term.value)
    if term.op in SUMS:
        return total_words(term, names)
    if term.op in _SAID:
        return f"{_SAID[term.op]}_{words(term.args[0], names, room - 1)}" if room else _SAID[term.op]
    parts = dict.fromkeys(words(a, names, room - 1) for a in term.args if a.op != "number") if room else {}
    if len(term.args) == 2 and term.args[0] is term.args[1]:
        return f"{next(iter(parts), 't')}_squared"
    text = "_".join(parts)
    return text if text and len(text) <= 24 else "t"
