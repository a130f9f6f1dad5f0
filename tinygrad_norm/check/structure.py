"""Patterns in Jacobians: where a gradient is right, where it is wrong, and by which factors its entries differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, Said, aligned_to, close, compared, named_axes, named_factor, named_values, subsets

ELEMENTWISE = (
    ", as when a function that mixes entries (a softmax, a normalization, a sum) is differentiated elementwise"
)
THROUGH_TIME = (
    ", as when a part of the sum is missing: the (recurrent) path from one time step to the next, or one of several "
    "uses over time"
)
ONCE = ", as when repeated indices or the copies of a broadcast are counted once: a sum (np.add.at) is missing"
END = ": an end of a sequence or a border (padding)"
MASK = ": a mask is missing, inverted or not needed"


def of_parts(e: Evidence) -> Said:
    """Guess which part of the Jacobian is wrong, described by indices or by values, and how."""
    if not any(e.explained_by(model) for _, model in of_transposed_map(e)):
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
        # If a part is described by outputs alone or by inputs alone, one wrong pair makes its row or column wrong.
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
        elif not exactly and not left[inside].any() and left[outside].all() and np.where(part, 0, e.want).any():
            yield f"it is zero (a path is missing) {where}, and nowhere else", e.got


def _is_no_luck(bad: Array, inside: Array, some: Array) -> bool:
    """Return whether it is unlikely that the wrong entries lie in a part, or fill it, by chance."""
    count, all_of_it = int(bad.sum()), bool((bad == inside).all())
    luck = 1 / math.comb(int(some.sum()), count) if all_of_it else float(inside.sum() / some.sum()) ** count
    return bool(2 * count >= inside.sum() and luck < 0.05)


def _because(how: str, hint: str) -> str:
    if how.startswith("not zero") and hint in (ELEMENTWISE, THROUGH_TIME):
        return ", as when a sum (or mean) runs over an axis too many"
    return "" if how.startswith("the right") or (hint in (ELEMENTWISE, THROUGH_TIME) and how.startswith("of")) else hint


def _how(e: Evidence, part: Array) -> Iterator[tuple[str, Array]]:
    """Yield descriptions of what is wrong with a part, each with the gradient that it predicts."""
    got, want = e.got[part], e.want[part]
    size = float((want * want).sum())
    if size == 0:
        yield "not zero, although it should be,", e.got
        return
    factor = float((got * want).sum()) / size
    model = np.where(part, factor * e.want, e.want)
    if abs(factor) < 1e-5:
        yield "missing (zero)", model
    elif abs(factor + 1) < 1e-5:
        yield "of the wrong sign (flipped)", model
    else:
        number = f"the right gradient times a factor of {factor:.4g}"
        yield from ((words, model) for words in named_factor(e, factor, "the right gradient {}", number))


def _parts(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    if e.whole:
        yield from _pairs(e, wrong, there, exactly)
        yield from _signs_of_outputs(e)
    for where, part, hint in _places(e, np.any(wrong, axis=0), np.any(there, axis=0), exactly):
        yield where, part[None], hint
    if exactly:
        yield from _others(e, wrong, there)


def _pairs(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield parts that concern pairs of an output entry and an input entry."""
    outputs: list[Array] = [index.reshape(-1, *(1,) * e.x.ndim) for index in np.indices(e.g.shape)]
    zero = not e.got[wrong].any()
    # Only a function with weights, which it uses at each step, has time steps.
    weights = any(i != e.which and x.ndim > 1 and x.dtype.kind == "f" for i, x in enumerate(e.points))
    over_time = THROUGH_TIME if weights or (e.x.ndim > 1 and len(e.points) > 1) else ""
    for a, out in enumerate(outputs if e.g.ndim > 1 or zero else []):
        last = e.g.shape[a] - 1
        if last > 1:
            for words, there_is in (("first", out == 0), ("last", out == last)):
                hint = f", as when only the {words} is used: a sum over that axis is missing" if zero else over_time
                called = f"entry of the output along axis {a}"
                yield f"for the cotangents at all but the {words} {called}", ~there_is, hint
                yield f"for the cotangents at the {words} {called}", there_is, END
    rows = wrong.reshape(len(wrong), -1).any(axis=1)
    if e.g.ndim == 1 and (np.diff(np.flatnonzero(rows)) == 1).all():
        hint = ", as when one of several cotangents is ignored: its path is missing" if zero else ""
        yield "for one block of the cotangent (one of several outputs)", rows.reshape(-1, *(1,) * e.x.ndim), hint
    if e.g.size == e.x.size > 1:
        same = (np.arange(e.g.size)[:, None] == np.arange(e.x.size)).reshape(wrong.shape)
        direct = ", as when a direct path (residual, elementwise) is missing"
        yield "on the diagonal, where an entry meets its own cotangent", same, direct
    if not exactly:
        return
    if e.g.size == e.x.size > 1:
        yield "off the diagonal, across entries", ~same, ELEMENTWISE if zero else ": in a sum (mean) over other entries"
    inputs = [np.expand_dims(index, 0) for index in np.indices(e.x.shape)]
    for a, out in enumerate(outputs):
        for b, into in enumerate(inputs):
            if e.x.shape[b] == e.g.shape[a] > 1:
                yield f"between different entries along axis {b}", out != into, over_time
                yield f"between entries more than one apart along axis {b}", np.abs(out - into) > 1, over_time
    kept = (there & ~wrong).sum(axis=0)
    if zero and kept.size > 1 and (kept[wrong.any(axis=0)] == 1).all():
        yield "for all but one of the outputs that an entry contributes to", wrong, ONCE


def _signs_of_outputs(e: Evidence) -> Iterator[tuple[str, Array, str]]:
    for name, a in named_values(e) if e.g.shape != e.x.shape else ():
        for v in aligned_to(a, e.g.shape) if a.size > 1 else ():
            for words, outputs in (("negative", v < 0), ("positive", v > 0)):
                part = outputs.reshape(-1, *(1,) * e.x.ndim)
                yield f"for the cotangents where {name} is {words}", part, f"{MASK} (by the sign of {name})"


def _places(e: Evidence, wrong: Array, there: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield parts of the input, described by labels, masks, signs, thresholds, extremes or borders."""
    shape = e.x.shape
    for name, a in zip(e.subject.names, e.points, strict=False):
        if a.dtype.kind in "iu":
            yield from _by_whole_numbers(name, a, shape)
        for mask in aligned_to(a, shape) if a.dtype.kind == "b" else ():
            yield f"where the mask {name} is true", mask, MASK
            yield f"where the mask {name} is false", ~mask, MASK
    for name, v in compared(e):
        yield f"where {name} is negative", v < 0, f"{MASK} (by the sign of {name})"
        yield f"where {name} is positive", v > 0, f"{MASK} (by the sign of {name})"
        yield f"where {name} is zero", v == 0, ", as with > instead of >=, or a guard against 0"
    yield from _at_extremes(e.name, e.x, exactly)
    yield from _at_borders(shape)
    for axis, n in enumerate(shape):
        rows = np.flatnonzero(wrong.any(axis=tuple(a for a in range(len(shape)) if a != axis)))
        if 0 < len(rows) < n - 1 and (np.diff(rows) == 1).all():
            part = np.isin(np.arange(n), rows).reshape(-1, *(1,) * (len(shape) - axis - 1))
            gates = (
                " (a slice, a part of the columns, such as one gate)" if n % len(rows) == 0 and len(rows) > 1 else ""
            )
            yield f"in one block along axis {axis}{gates}", np.broadcast_to(part, shape), ""
    for name, v in compared(e):
        for called, u in ((name, v), (f"|{name}|", np.abs(v))):
            right, bad = u[~wrong & there], u[wrong]
            if (
                min(right.size, bad.size) > 0
                and right.size + bad.size > 5
                and (right.max() < bad.min() or bad.max() < right.min())
            ):
                side = "above" if right.max() < bad.min() else "below"
                hint = ": a mask (of a clip, a kink, a margin) or the branch beyond it"
                yield f"where {called} is {side} a threshold", wrong, hint


def _at_extremes(name: str, x: Array, exactly: bool) -> Iterator[tuple[str, Array, str]]:
    """Yield the diagonal of a matrix, and the maxima and minima along an axis."""
    for one, two in combinations(range(x.ndim), 2):
        if x.shape[one] == x.shape[two] > 1:
            same = np.indices(x.shape)[one] == np.indices(x.shape)[two]
            yield f"off the diagonal of {name} (axes {one}, {two})", ~same, ""
            yield f"on the diagonal of {name} (axes {one}, {two})", same, ""
    for axis, n in enumerate(x.shape if exactly else ()):
        for words, extreme in (("maximum", x.max(axis, keepdims=True)), ("minimum", x.min(axis, keepdims=True))):
            if n > 1:
                yield f"where {name} is the {words} along axis {axis}", x == extreme, f": the path through the {words}"
                yield f"where {name} is not the {words} along axis {axis}", x != extreme, f": a mask of the {words}"


def _at_borders(shape: tuple[int, ...]) -> Iterator[tuple[str, Array, str]]:
    indices = np.indices(shape)
    for axes in subsets(min(len(shape), 4)):
        if all(shape[a] > 2 for a in axes):
            border = np.any([(indices[a] == 0) | (indices[a] == shape[a] - 1) for a in axes], axis=0)
            yield f"at the border along {named_axes(axes)}", border, ", as with wrong padding"
            yield f"inside the border along {named_axes(axes)}", ~border, ", as with wrong padding"
    for axis, n in enumerate(shape):
        for words, place in (("first", 0), ("last", n - 1)):
            there = indices[axis] == place
            yield f"at the {words} entry along axis {axis}", there, END
            yield f"everywhere but at the {words} entry along axis {axis}", ~there, THROUGH_TIME if n > 2 else ""


def _others(e: Evidence, wrong: Array, there: Array) -> Iterator[tuple[str, Array, str]]:
    """Yield parts that have no simpler description: entries that are wrongly zero or nonzero, and missing terms."""
    whole = np.asarray(wrong.any(axis=0))
    if not (wrong ^ (there & whole)).any():
        if not e.want[:, whole].any():
            yield "at some entries", whole[None], ": a mask is missing"
        if not e.got[:, whole].any():
            yield "at some entries", whole[None], ": a path is missing there, or a mask is not needed"
    if e.whole and not e.got[wrong].any():
        hint = ", as when a sum over repeated or overlapping uses is overwritten, not accumulated"
        yield "in some terms", wrong, hint


def of_places(e: Evidence) -> Said:
    """Guess that the values are right, but in the wrong places."""
    for axis, words in ((1, "of the input"), (0, "of the cotangent"))[: 2 if e.whole else 1]:
        got, want = (np.sort(j.reshape(len(j), -1), axis=axis) for j in (e.got, e.want))
        if got.shape[axis] > 2 and np.ptp(want, axis=axis).any() and close(got, want, 1e-6):
            told = "wrong order or position (swapped, shifted)"
            yield f"its values are right, but at the wrong places {words}: {told}", e.got


def of_transposed_map(e: Evidence) -> Said:
    if e.whole and e.g.size == e.x.size:
        words = (
            "the linear map is not transposed before it is applied to the cotangent (it gives the transposed Jacobian)"
        )
        yield words, e.want.reshape(e.g.size, -1).T.reshape(e.want.shape)


def of_direction(e: Evidence) -> Said:
    """Guess from the zeros of the Jacobian: gathered instead of scattered, or summed in the wrong direction."""
    if not e.whole:
        return
    got, want = (j.reshape(len(j), -1) != 0 for j in (e.got, e.want))
    if got.shape[0] == got.shape[1] and (got == want.T).all() and (got != want).any():
        yield "the direction is wrong: the map runs forward instead of backward (a sum is not reversed)", e.got
    once = want.sum(axis=1).max() == 1 == got.sum(axis=0).max() and {*e.got.flat} <= {*e.want.flat}
    if once and (got & ~want).any() and any(p.dtype.kind in "iu" for p in e.points):
        words = "the cotangent is gathered by indices; it should be scattered to them (the transposed map)"
        yield words, e.got
    here, there = got.any(axis=0), want.any(axis=0)
    if (here & ~there).any():
        how = "selects the wrong entries (places, axes)" if (there & ~here).any() else "is missing or too large"
        yield f"it is not zero at entries where it should be, and wrong at others: a mask (of a maximum) {how}", e.got
    elif (there & ~here).sum() > 1 and e.g.shape != e.x.shape:
        yield "it is zero at entries where it should not be, and wrong at others: a path is missing", e.got


def _by_whole_numbers(name: str, a: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array, str]]:
    """Yield the entries that labels select, and those whose index is repeated."""
    for axis, size in enumerate(shape):
        others = (*shape[:axis], *shape[axis + 1 :])
        if a.shape == others and a.size and a.min() >= 0 and a.max() < size:
            labelled = np.expand_dims(a, axis) == np.arange(size).reshape(-1, *(1,) * (len(shape) - axis - 1))
            hint = ", as when the term of the right class (the one-hot target) is missing or wrong"
            yield f"at the entries that the labels ({name}) select", labelled, hint
            yield f"everywhere but at the labels ({name})", ~labelled, ", as when a term of the other classes is wrong"
        if a.size and a.min() >= 0 and a.max() < size:
            counts = np.bincount(a.ravel(), minlength=size).reshape(-1, *(1,) * (len(shape) - axis - 1))
            repeated = np.broadcast_to(counts > 1, shape)
            yield f"where an index of {name} is repeated", repeated, ONCE
