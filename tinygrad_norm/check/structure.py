"""Where a gradient is right and where it is wrong, and by which factors its entries differ: patterns in Jacobians."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, close, factors, named_axes, subsets

Said = Iterator[tuple[str, Array]]

ELEMENTWISE = ", as when what mixes entries (a softmax, a normalization, a sum) is differentiated elementwise"
THROUGH_TIME = (
    ", as when a path from one time step to the next (recurrent), or one of several uses over time, is missing: a part "
    "of the sum"
)
ONCE = ", as when repeated indices, or the copies of a broadcast, are counted once: a sum (np.add.at) is missing"
END = ", at an end of a sequence, or a border (padding)"
MASK = ", a mask is missing, inverted or too much"


def of_parts(e: Evidence) -> Said:
    """Guess which part of the Jacobian is wrong, and by how much: told by places, or by values."""
    yield from _of_parts(e, exactly=True)


def of_wrong_parts(e: Evidence) -> Said:
    """Guess which part of the Jacobian is wrong, whatever is wrong with it."""
    yield from _of_parts(e, exactly=False)


def _of_parts(e: Evidence, exactly: bool) -> Said:
    scale = max(np.abs(e.want).max(), np.abs(e.mismatch).max())
    wrong, nonzero = np.abs(e.mismatch) > 1e-6 * scale, np.abs(e.got) > 1e-9 * scale
    there = wrong | (np.abs(e.want) > 1e-6 * scale)
    if there.sum() < 4:
        return
    for where, part, hint in _parts(e, wrong, there, exactly):
        # Where a part is told by outputs or by inputs alone, one wrong pair of many makes it wrong.
        alike = tuple(axis for axis, n in enumerate(part.shape) if n == 1 < wrong.shape[axis])
        bad, some, left = (a.any(axis=alike, keepdims=True) for a in (wrong, there, nonzero))
        inside, outside = some & part, some & ~part
        if not inside.any() or not outside.any():
            continue
        if exactly and (bad == inside).all():
            for how, model in _how(e, np.broadcast_to(part, wrong.shape)):
                yield f"it is {how} {where}, and right elsewhere{_because(how, hint)}", model
        elif not exactly and not (bad & outside).any() and _is_no_luck(bad, inside, some):
            yield f"it is wrong {where}, and right elsewhere{_because('wrong', hint)}", e.got
        elif not exactly and not left[inside].any() and left[outside].all() and _left(e.want, part):
            yield f"it is zero (a path is missing) {where}, and nowhere else", e.got


def _left(want: Array, part: Array) -> bool:
    """Return whether the right gradient is not zero outside of a part."""
    return bool(np.where(part, 0, want).any())


def _is_no_luck(bad: Array, inside: Array, some: Array) -> bool:
    """Return whether wrong entries would hardly be in a part, or be all of it, by chance."""
    count, all_of_it = int(bad.sum()), bool((bad == inside).all())
    luck = 1 / math.comb(int(some.sum()), count) if all_of_it else float(inside.sum() / some.sum()) ** count
    return bool(2 * count >= inside.sum() and luck < 0.05)


def _because(how: str, hint: str) -> str:
    if how.startswith("not zero") and hint in (ELEMENTWISE, THROUGH_TIME):
        return ", as when a sum (or mean) runs over an axis too many"
    return "" if how.startswith("the right") or (hint in (ELEMENTWISE, THROUGH_TIME) and how.startswith("of")) else hint


def _how(e: Evidence, part: Array) -> Iterator[tuple[str, Array]]:
    """Yield in words what is wrong with a part, and the model of the gradient that this means."""
    got, want = e.got[part], e.want[part]
    size = float((want * want).sum())
    if size == 0:
        yield "not zero, as it should be,", e.got
        return
    factor = float((got * want).sum()) / size
    model = np.where(part, factor * e.want, e.want)
    if abs(factor) < 1e-5:
        yield "missing (zero)", model
    elif abs(factor + 1) < 1e-5:
        yield "of the wrong sign (flipped)", model
    else:
        named = (words for value, words in factors(e) if abs(factor - value) < 1e-5 * value)
        yield from ((f"the right one {words}", model) for words in named)
        yield f"the right one times a factor of {factor:.4g}", model


def _parts(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    if e.whole:
        yield from _pairs(e, wrong, there, exactly)
    for where, part, hint in _places(e, np.any(wrong, axis=0), np.any(there, axis=0), exactly):
        yield where, part[None], hint
    if exactly:
        yield from _others(e, wrong, there)


def _pairs(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield parts of the pairs of an entry of the output and one of the input."""
    outputs: list[Array] = [index.reshape(-1, *(1,) * e.x.ndim) for index in np.indices(e.g.shape)]
    zero = not e.got[wrong].any()
    for a, out in enumerate(outputs if e.g.ndim > 1 or zero else []):
        last = e.g.shape[a] - 1
        if last > 1:
            for words, there_is in (("first", out == 0), ("last", out == last)):
                hint = f", as when only the {words} counts: a sum over that axis is missing" if zero else THROUGH_TIME
                called = f"place of the output along axis {a}"
                yield f"for the cotangents at all but the {words} {called}", ~there_is, hint
                yield f"for the cotangents at the {words} {called}", there_is, END
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    if e.g.ndim == 1 and (np.diff(np.flatnonzero(rows)) == 1).all():
        hint = ", as when one of several cotangents is ignored: its path is missing" if zero else ""
        yield "for one stretch of the cotangent (one of several outputs)", rows.reshape(-1, *(1,) * e.x.ndim), hint
    if not exactly:
        return
    if e.g.size == e.x.size > 1:
        same = (np.arange(e.g.size)[:, None] == np.arange(e.x.size)).reshape(wrong.shape)
        yield "off the diagonal, across entries", ~same, ELEMENTWISE if zero else ": in a sum (mean) over other entries"
        yield "on the diagonal, where an entry meets its own cotangent", same, ": in the direct (elementwise) term"
    inputs = [np.expand_dims(index, 0) for index in np.indices(e.x.shape)]
    for a, out in enumerate(outputs):
        for b, into in enumerate(inputs):
            if e.x.shape[b] == e.g.shape[a] > 1:
                yield f"between different places along axis {b}", out != into, THROUGH_TIME
                yield f"between places along axis {b} more than one apart", np.abs(out - into) > 1, THROUGH_TIME
    kept = (there & ~wrong).sum(axis=0)
    if zero and kept.size > 1 and (kept[wrong.any(axis=0)] == 1).all():
        yield "for all but one of the places that an entry goes to", wrong, ONCE


def _places(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield parts of the input: by labels, masks, signs, thresholds, extremes, borders."""
    shape = e.x.shape
    for name, a in zip(e.subject.names, e.points, strict=False):
        if a.dtype.kind in "iu":
            yield from _by_whole_numbers(name, a, shape)
        for mask in aligned_to(a, shape) if a.dtype.kind == "b" else ():
            yield f"where the mask {name} is true", mask, MASK
            yield f"where the mask {name} is false", ~mask, MASK
    for name, v in _compared(e):
        yield f"where {name} is negative", v < 0, f"{MASK} (by the sign of {name})"
        yield f"where {name} is positive", v > 0, f"{MASK} (by the sign of {name})"
        yield f"where {name} is zero", v == 0, ", as of > for >=, or a guard against 0"
    yield from _at_extremes(e.name, e.x, exactly)
    yield from _at_borders(shape)
    for axis, n in enumerate(shape):
        rows = np.flatnonzero(wrong.any(axis=tuple(a for a in range(len(shape)) if a != axis)))
        if 0 < len(rows) < n - 1 and (np.diff(rows) == 1).all():
            part = np.isin(np.arange(n), rows).reshape(-1, *(1,) * (len(shape) - axis - 1))
            words = f"in one block along axis {axis} (a slice, a part of the columns, as of one gate)"
            yield words, np.broadcast_to(part, shape), ""
    for name, v in _compared(e):
        for called, u in ((name, v), (f"|{name}|", np.abs(v))):
            right, bad = u[~wrong & there], u[wrong]
            if (
                min(right.size, bad.size) > 0
                and right.size + bad.size > 5
                and (right.max() < bad.min() or bad.max() < right.min())
            ):
                side = "above" if right.max() < bad.min() else "below"
                hint = ", a mask (of a clip, a kink, a margin) or the branch beyond it"
                yield f"where {called} is {side} a threshold", wrong, hint


def _compared(e: Evidence) -> list[tuple[str, Array]]:
    """Return what signs and thresholds are of: inputs, the output, and differences and products of two of them."""
    values = [(name, v) for name, a in named_values(e) if a.size > 1 for v in aligned_to(a, e.x.shape)]
    inputs = [(name, a) for name, a in named_values(e)[:-1] if a.shape == e.x.shape]
    for (m, a), (n, b) in combinations(inputs, 2):
        values += [(f"{m} - {n}", a - b), (f"{m} * {n}", a * b)]
    return values


def _at_extremes(name: str, x: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield the diagonal of a matrix, and where values are the largest or smallest along an axis."""
    for one, two in combinations(range(x.ndim), 2):
        if x.shape[one] == x.shape[two] > 1:
            same = np.indices(x.shape)[one] == np.indices(x.shape)[two]
            yield f"off the diagonal of {name} (axes {one}, {two})", ~same, ""
            yield f"on the diagonal of {name} (axes {one}, {two})", same, ""
    for axis, n in enumerate(x.shape if exactly else ()):
        for words, extreme in (("maximum", x.max(axis, keepdims=True)), ("minimum", x.min(axis, keepdims=True))):
            if n > 1:
                yield f"where {name} is the {words} along axis {axis}", x == extreme, f": the path of the {words}"
                yield f"where {name} is not the {words} along axis {axis}", x != extreme, f": a mask of the {words}"


def _at_borders(shape: tuple[int, ...]) -> Iterator[tuple[str, Array, str]]:
    indices = np.indices(shape)
    for axes in subsets(min(len(shape), 4)):
        if all(shape[a] > 2 for a in axes):
            border = np.any([(indices[a] == 0) | (indices[a] == shape[a] - 1) for a in axes], axis=0)
            yield f"at the border along {named_axes(axes)}", border, ", as of the padding"
            yield f"inside the border along {named_axes(axes)}", ~border, ", as of the padding"
    for axis, n in enumerate(shape):
        for words, place in (("first", 0), ("last", n - 1)):
            there = indices[axis] == place
            yield f"at the {words} place along axis {axis}", there, END
            yield f"everywhere but at the {words} place along axis {axis}", ~there, THROUGH_TIME if n > 2 else ""


def _others(e: Evidence, wrong: Array, there: Array) -> Iterator[tuple[str, Array, str]]:
    """Yield what has no name: entries that should be zero, or that should not, and terms of a sum that are missing."""
    whole = np.asarray(wrong.any(axis=0))
    if not (wrong ^ (there & whole)).any():
        if not e.want[:, whole].any():
            yield "at some entries", whole[None], ": a mask is missing"
        if not e.got[:, whole].any():
            yield "at some entries", whole[None], ": a path is missing there, or a mask is too much"
    if e.whole and not e.got[wrong].any():
        words = (
            ", as when a sum over repeated or overlapping uses is overwritten, not accumulated, or a path is missing"
        )
        yield "in some terms", wrong, words


def of_places(e: Evidence) -> Said:
    """Guess that values are right, and stand in other places."""
    for axis, words in ((0, "of the cotangent"), (1, "of the input")) if e.whole else ():
        got, want = (np.sort(j.reshape(len(j), -1), axis=axis) for j in (e.got, e.want))
        if got.shape[axis] > 2 and np.ptp(want, axis=axis).any() and close(got, want, 1e-6):
            told = "another order or position (swapped, shifted)"
            yield f"its values are right, but at other places {words}: {told}", e.got


def of_support(e: Evidence) -> Said:
    """Guess by where the gradient is zero and where it should be."""
    scale = 1e-9 * np.abs(e.want).max()
    got, want = (np.abs(j).max(axis=0) > scale for j in (e.got, e.want))
    if _is_diagonal(e):
        return
    if want.all() and (~got).sum() > 1:
        yield (
            "it is zero at some entries, where the right one is not, and wrong at the others: a path is missing",
            e.got,
        )
    elif got[~want].any() and not (want & ~got).any():
        words = (
            "it is not zero at some entries where it should be, and wrong at the others: a mask (as of the maximum) "
        )
        yield f"{words}is missing, or what belongs to one entry is spread over (shared by) several", e.got
    elif got[~want].any():
        words = "it is zero at some entries where the right one is not, and the other way round: a mask is inverted, "
        yield f"{words}or positions (places, an order, axes) are swapped", e.got


def _by_whole_numbers(name: str, a: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array, str]]:
    """Yield the entries of labels, and those of indices that occur more than once."""
    for axis, size in enumerate(shape):
        others = (*shape[:axis], *shape[axis + 1 :])
        if a.shape == others and a.size and a.min() >= 0 and a.max() < size:
            labelled = np.expand_dims(a, axis) == np.arange(size).reshape(-1, *(1,) * (len(shape) - axis - 1))
            yield (
                f"at the entries that the labels ({name}) name",
                labelled,
                ", as when the term of the right class (the one-hot target) is missing or wrong",
            )
            yield f"everywhere but at the labels ({name})", ~labelled, ", in a term of the other classes"
        if a.size and a.min() >= 0 and a.max() < size:
            counts = np.bincount(a.ravel(), minlength=size).reshape(-1, *(1,) * (len(shape) - axis - 1))
            repeated = np.broadcast_to(counts > 1, shape)
            yield f"where an index of {name} is repeated", repeated, ONCE


def named_values(e: Evidence) -> list[tuple[str, Array]]:
    """Return the arrays whose values may tell something: the inputs and the output."""
    named = [(n, a) for n, a in zip(e.subject.names, e.points, strict=False) if a.dtype.kind == "f"]
    return [named[0], *named[1:], ("the output y", e.y)]


def aligned_to(a: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield an array repeated to a shape: by its last axes, its first ones, or by channels."""
    seen = set()
    for front in range(len(shape) - a.ndim + 1):
        padded = (*(1,) * front, *a.shape, *(1,) * (len(shape) - a.ndim - front))
        if padded not in seen and all(n in (1, m) for n, m in zip(padded, shape, strict=True)):
            seen.add(padded)
            yield np.broadcast_to(a.reshape(padded), shape)


def of_elementwise(e: Evidence) -> Said:
    """Guess what a factor of each entry is: a function of the input or the output, or another input."""
    got, want = e.got.reshape(len(e.got), -1), e.want.reshape(len(e.got), -1)
    diagonal = _is_diagonal(e)
    sides = [(0, e.x.shape)] + ([(1, e.g.shape)] if e.whole and not diagonal else [])
    if diagonal:
        yield from _of_derivative(e, np.diag(got).reshape(e.x.shape), np.diag(want).reshape(e.x.shape))
    for axis, shape in sides:
        sizes = (want * want).sum(axis=axis, keepdims=True)
        factor = (got * want).sum(axis=axis, keepdims=True) / np.where(sizes > 0, sizes, 1)
        model = (factor * want).reshape(e.want.shape)
        if not e.explained_by(model):
            continue
        known = (sizes > 1e-12 * sizes.max()).reshape(shape)
        for words, term in terms(e, shape):
            for power, how in ((1, "multiplied"), (-1, "divided")):
                constant = _constant(factor.reshape(shape)[known] / np.broadcast_to(term, shape)[known] ** power)
                if constant is not None:
                    told = "a factor too much" if power == 1 else "a factor that is missing"
                    yield f"it is the right one {how} by {words}{constant}: {told}", model
    if diagonal:
        yield from _of_missing_term(e, np.diag(got).reshape(e.x.shape), np.diag(want).reshape(e.x.shape))


def of_local_factors(e: Evidence) -> Said:
    """Guess that it is right but for a factor of each entry of the input, or of the output."""
    if _is_diagonal(e):
        words = "the local derivative is wrong: it is elementwise, as it should be, but a factor or a term of the "
        yield f"{words}derivative is missing or wrong (by the chain rule or the product rule)", e.got
    got, want = e.got.reshape(len(e.got), -1), e.want.reshape(len(e.got), -1)
    for axis, name in ((0, "input"), (1, "output")):
        several = (np.abs(want) > 1e-9 * np.abs(want).max()).sum(axis=axis).min() > 1
        sizes = (want * want).sum(axis=axis, keepdims=True)
        factor = (got * want).sum(axis=axis, keepdims=True) / np.where(sizes > 0, sizes, 1)
        differ = np.ptp(factor) > 1e-3 * np.abs(factor).max()
        if e.whole and several and differ and factor.size > 2 and factor.all():
            words = f"it is the right one times a factor of its own for each entry of the {name}: a factor (a local "
            yield f"{words}derivative, a gate, a weight) is missing or wrong", (factor * want).reshape(e.want.shape)


def _is_diagonal(e: Evidence) -> bool:
    """Return whether the gradient and the right one are elementwise."""
    if not e.whole or e.g.shape != e.x.shape:
        return False
    return not any((m - np.diag(np.diag(m))).any() for m in (j.reshape(len(j), -1) for j in (e.got, e.want)))


def _of_derivative(e: Evidence, got: Array, want: Array) -> Said:
    """Guess at a wrong elementwise derivative."""
    if np.ptp(want) < 1e-6 * np.abs(want).max():
        return
    if close(got, np.ones_like(got)):
        yield "the cotangent is passed on unchanged: the local derivative (a factor) is missing", e.got
    if not got[want != 0].any():
        yield "it is zero where the right one is not, and not zero where that is: a mask is inverted", e.got
    for power, words in (
        (2.0, "squared"),
        (-1.0, "inverted (1 / derivative): a factor is to be divided by, not multiplied, or the reverse"),
        (0.5, "under a square root"),
    ):
        if close(got, np.abs(want) ** power * (1 if power == 2 else np.sign(want))):
            yield f"the local derivative is {words}", e.got
    here = [(words, term) for words, term in terms(e, e.x.shape) if np.ptp(term) > 1e-6 * np.abs(term).max()]
    right = [f", where the derivative is {w}{c}" for w, t in here if (c := _constant(want / t)) is not None]
    for words, term in here:
        constant = _constant(got / term)
        if constant is not None:
            for derivative in (*right, ", which is not the derivative"):
                yield f"it is the cotangent times {words}{constant}{derivative}: a wrong factor", e.got


def _of_missing_term(e: Evidence, got: Array, want: Array) -> Said:
    """Guess that a term of an elementwise derivative is missing, as by the product rule."""
    of_x = [(f"{e.name} * {words}", e.x * term) for words, term in terms(e, e.x.shape)]
    if np.abs(want - got).max() < 1e-3 * np.abs(want).max():
        return
    for words, term in [("1", np.ones_like(got)), *terms(e, e.x.shape), *of_x]:
        constant = _constant((want - got) / term)
        if constant is not None:
            yield f"a term of the derivative is missing (or wrong): {words}{constant} times the cotangent", e.got


def _constant(ratio: Array) -> str | None:
    """Return a factor in words, if it is the same everywhere and there are enough of them."""
    if ratio.size < 3 or not np.isfinite(ratio).all() or np.ptp(ratio) > 1e-5 * np.abs(ratio).max():
        return None
    value = float(ratio.mean())
    return "" if abs(value - 1) < 1e-5 else " (negative)" if abs(value + 1) < 1e-5 else f" (times {value:.4g})"


FUNCTIONS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("{}", lambda v: v),
    ("{}**2", lambda v: v**2),
    ("the square root of {}", lambda v: np.sqrt(np.abs(v))),
    ("1 - {}", lambda v: 1 - v),
    ("1 + {}", lambda v: 1 + v),
    ("1 - {}**2", lambda v: 1 - v**2),
    ("1 + {}**2", lambda v: 1 + v**2),
    ("{} * (1 - {})", lambda v: v * (1 - v)),
    ("{} * (1 + {})", lambda v: v * (1 + v)),
    ("exp({})", np.exp),
    ("exp(-{}**2 / 2)", lambda v: np.exp(-v * v / 2)),
    ("log({})", lambda v: np.log(np.abs(v))),
    ("|{}|", np.abs),
    ("sin({})", np.sin),
    ("cos({})", np.cos),
    ("tanh({})", np.tanh),
    ("1 - tanh({})**2", lambda v: 1 - np.tanh(v) ** 2),
    ("sigmoid({})", lambda v: 1 / (1 + np.exp(-v))),
    ("the derivative of sigmoid({})", lambda v: np.exp(-v) / (1 + np.exp(-v)) ** 2),
)
STATISTICS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("standard deviation", np.std),
    ("variance", np.var),
    ("norm", lambda x, **over: np.sqrt((x**2).sum(**over))),
    ("squared norm", lambda x, **over: (x**2).sum(**over)),
    ("sum", np.sum),
)


def terms(e: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Yield what a factor may be: statistics of the input, functions of the inputs and of the output."""
    for axes in subsets(len(shape)) if e.x.shape == shape else ():
        for words, statistic in STATISTICS:
            value = np.broadcast_to(statistic(e.x, axis=axes, keepdims=True), shape)
            yield f"the {words} of {e.name} over {named_axes(axes)}", value
    for name, a in named_values(e):
        for v in aligned_to(a, shape):
            if v.size > 1 and np.ptp(v) > 0:
                yield from ((words.replace("{}", name), function(v)) for words, function in FUNCTIONS)


def of_other_inputs_factors(e: Evidence) -> Said:
    """Guess that a weight stands outside a sum that it belongs into, or is missing, or stands there twice."""
    if not e.whole:
        return
    for name, a in named_values(e)[:-1]:
        if a is e.x or a.size < 2:
            continue
        for inside in aligned_to(a, e.g.shape):
            weight = inside.reshape(-1, *(1,) * e.x.ndim)
            yield f"the factor {name} is missing: it is the right one for ones in its place", e.want / weight
            yield f"the factor {name} stands there twice", e.want * weight
            for outside in aligned_to(a, e.x.shape):
                words = f"the factor {name} (a weight) stands outside the sums (means) over the cotangent, not inside"
                yield words, e.want / weight * outside


def of_cotangent_sums(e: Evidence) -> Said:
    """Guess that a gradient, or its mismatch, is the cotangent itself or its sum over axes, times an input or alone."""
    if not e.whole:
        return
    units = e.cotangents.reshape(-1, *e.g.shape)
    for count in range(e.g.ndim + 1):
        for axes in combinations(range(e.g.ndim), count):
            over = f"the sum of the cotangent over {named_axes(axes)}" if axes else "the cotangent"
            total = units.sum(axis=tuple(a + 1 for a in axes))
            if total[0].size != e.x.size:
                continue
            total = total.reshape(e.want.shape)
            alone = "alone: a factor is missing, or the gradient of another input was returned"
            if not axes:
                alone = "itself, passed on unchanged: the local derivative (a factor), or every other path, is missing"
            yield f"it is {over} {alone}", total
            direct = "a direct (identity, skip, residual or additive) path"
            yield f"{over} is missing from it: {direct}", e.want - total
            yield f"{over} is in it once too often: {direct}", e.want + total
            yield f"{over} has the wrong sign in it: {direct}", e.want - 2 * total
            for name, a in named_values(e) if axes else ():
                for v in aligned_to(a, e.g.shape):
                    words = f"it is {over}, after it is multiplied by {name}: the wrong factor"
                    yield words, total * v.reshape(-1, *(1,) * e.x.ndim)
