"""A picture says exactly what was computed: what a reader rebuilds of its texts and edges has the recorded values."""

import numpy as np
import pytest
from dot_reader import read, shown
from draws import each_case
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_reader import Box, Formula, evaluated, fitted
from primitive_table import COMPOSITES, ROWS

import tinygrad_norm as tn
from tests.benchmarks.reading import look
from tinygrad_norm.engine.tensor import named, record, walk
from tinygrad_norm.graph import dot, fold, formulas, naming, tracing
from tinygrad_norm.graph.explorer.recording import Recording

VIEWS = [(detail, backward) for detail in ("full", "slide") for backward in (False, True)]


def said_by(drawing):
    """The boxes and the edges that a drawing shows, in the order in which they can be computed."""
    dot = read(drawing.source)
    edges = []
    for (tail, head), attributes in zip(dot.edges, dot.looks, strict=True):
        marks = [mark for mark in shown(attributes.get("label", "")).replace("\u00a0", " ").strip().split(", ") if mark]
        edges.append((head, tail, marks) if attributes.get("dir") == "back" else (tail, head, marks))
    computes = {target for _, target, _ in edges}
    lines = {key: shown(node["label"]).replace("\u2007", " ").split("\n") for key, node in dot.nodes.items()}
    return {key: Box(text, key in computes) for key, text in lines.items()}, edges


def seen_in(drawing):
    """The same from the picture itself: texts that lie in boxes, and lines that end at them; ids only tell shapes."""
    seen = look(drawing.svg())

    def at(point):
        """The box whose outline is nearest to a point."""
        x, y = point
        return min(seen.boxes, key=lambda box: outside(seen.boxes[box], x, y))

    edges = []
    for name, points in seen.lines.items():
        # The arrow's head is at the end that the value arrives at.
        ends = sorted((points[0], points[-1]), key=lambda end: float(np.hypot(*(end - seen.arrows[name]))))
        labels = [text.text for text in seen.texts if text.owner == name and text.kind == "edge"]
        marks = [mark for label in labels for mark in label.replace("\u00a0", " ").split(", ") if mark]
        edges.append((at(ends[1]), at(seen.arrows[name]), marks))
    computes = {target for _, target, _ in edges}
    lines = {box: [t.text.replace("\u00a0", " ") for t in seen.texts if t.owner == box] for box in seen.boxes}
    return {box: Box(text, box in computes) for box, text in lines.items()}, edges


def outside(box, x, y):
    return max(box[0] - x, 0, x - box[2]) + max(box[1] - y, 0, y - box[3])


def agrees(drawing, given, recorded, read=said_by):
    """Every box shows the values that a reader computes for it, to the digits that are printed; return these."""

    def data(box):
        """The recorded array that an unnamed box of data shows to three digits, or whose smallest and largest."""
        alike = [a for a in recorded if (a.shape, str(a.dtype)) == (box.shape, box.dtype)]
        if box.shown and box.shown[0][:1] == ["min"]:
            return next(iter(alike))
        printed = box.read_values()
        return next((a for a in alike if np.allclose(a, printed, rtol=6e-3, equal_nan=True)), printed)

    boxes, edges = read(drawing)
    values = evaluated(boxes, edges, given, data)
    for key, box in boxes.items():
        if np.prod(box.shape) <= 12 and box.shown and box.shown[0][:1] != ["min"]:
            got, want = np.asarray(values[key], float), np.asarray(box.read_values(), float)
            scale = np.abs(want[np.isfinite(want)]).max(initial=0.0)
            np.testing.assert_allclose(got, want, rtol=6e-3, atol=3e-3 * scale + 1e-12, err_msg=f"{vars(box)}")
    return {box.name: values[key] for key, box in boxes.items()}


def reads_back(outputs, given, rng, rtol=1e-5, read=said_by):
    """The drawings of outputs, forward and with gradient, in full and as slides, read back to what was recorded."""
    arriving = [x for y in walk(outputs) for x in (*y.node.inputs, *y.node.static.get("index", ()))]
    recorded = [x.data for x in arriving if isinstance(x, tn.Tensor) and x.node is None]
    recorded += [x for x in arriving if isinstance(x, np.ndarray)]
    g = [rng.normal(size=y.shape) for y in outputs]
    differentiable = any(y.requires_grad for y in outputs)
    for detail, backward in VIEWS:
        if backward and not differentiable:
            continue
        with np.errstate(all="ignore"):
            drawing = tn.draw(
                *outputs, values=True, open=True, detail=detail, backward=backward, cotangents=g if backward else None
            )
        seeds = {f"dL/d{y.name}": x for y, x in zip(outputs, g, strict=True)}
        found = agrees(drawing, {**given, **(seeds if backward else {})}, recorded, read)
        for y in outputs:
            np.testing.assert_allclose(found[y.name], y.data, rtol=rtol, atol=rtol)


UNARY = [
    np.tanh, np.exp, np.square, np.negative, np.abs, np.sin, tn.ops.sigmoid, np.expm1, np.sign, np.cbrt, np.arctan,
    tn.ops.relu, tn.ops.softmax, np.sum, np.transpose, np.ravel,
    lambda x: np.sqrt(x * x + 0.5), lambda x: np.log(np.abs(x) + 0.5), lambda x: np.log1p(x * x),
    lambda x: 1 - x, lambda x: x - 1, lambda x: 2 / (x * x + 1), lambda x: x / 2, lambda x: 2**x, lambda x: x**3,
    lambda x: (x * x + 0.3) ** -0.5, lambda x: x[None], lambda x: np.where(x > 0, x, 0.1),
    lambda x: np.clip(x, -1, None), lambda x: np.maximum(x, 0.2), lambda x: np.stack([x, 2 * x])[1],
]  # fmt: skip
OF_ARRAYS = [
    lambda x: x[..., ::-1], lambda x: x.sum(-1, keepdims=True), lambda x: x.mean(0), lambda x: x.max(0),
    lambda x: np.cumsum(x, 0), lambda x: x[[0, -1, 0]], lambda x: np.pad(x[:1], 1), lambda x: np.concatenate([x, x]),
    lambda x: np.prod(x, axis=0), lambda x: np.einsum("...i,...i->...", x, x + 1), lambda x: x[x.data > 0],
]  # fmt: skip
BINARY = [
    np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.arctan2, np.hypot, lambda a, b: b - a,
    lambda a, b: a / (b * b + 1), lambda a, b: (a * a + 0.5) ** b, lambda a, b: np.where(a > b, a, b),
    lambda a, b: np.where(np.sin(a.data) > 0, a, b),
]  # fmt: skip
NAMES = ["h", "x−μ", "σ²", "dL/dz", "z", "a/b", "x̂", "loss (mean)", "W.T", "t₁", "h"]


@st.composite
def programs(draw):
    """A recorded program of random steps; some of its Tensors have names, good and bad ones, also twice."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    leaves = {}
    for name in ("x", "W", "b")[: draw(st.integers(1, 3))]:
        shape = draw(st.sampled_from([(2, 3), (3, 3), (3,), (1, 3), (2, 1), ()]))
        leaves[name] = tn.tensor(rng.normal(size=shape).round(2), requires_grad=draw(st.integers(0, 3)) > 0, name=name)
    made = [*leaves.values()]
    with np.errstate(all="ignore"):
        for _ in range(draw(st.integers(1, 7))):
            a, b = draw(st.sampled_from(made)), draw(st.sampled_from(made))
            kind = draw(st.integers(0, 2))
            if kind == 0:
                y = draw(st.sampled_from(UNARY + OF_ARRAYS if a.ndim else UNARY))(a)
            elif kind == 1 and a.ndim and b.ndim and a.shape[-1] == b.shape[max(b.ndim - 2, 0)]:
                y = a @ b
            else:
                try:
                    y = draw(st.sampled_from(BINARY))(a, b)
                except ValueError:  # shapes that do not fit together
                    continue
            if not 0 < y.size <= 12 or y.ndim > 3 or not np.isfinite(y.data).all() or np.abs(y.data).max() > 1e3:
                continue
            if y.node is not None and y.name is None and draw(st.integers(0, 3)) == 0:
                y.name = draw(st.sampled_from(NAMES))
            made.append(y)
    y = made[-1]
    if y.node is None:
        y = made[0] * 1.0
    y.name = "y"
    return [y], {name: x.data for name, x in leaves.items()}, rng


@given(programs())
def test_pictures_of_random_programs_read_back(program):
    outputs, leaves, rng = program
    reads_back(outputs, leaves, rng)


@pytest.mark.parametrize(
    "step",
    [
        lambda a, b: np.cbrt(b - a),
        lambda a, b: np.sum(a.mean(0), axis=0, keepdims=True),
        lambda a, b: np.ravel(a)[np.arange(9) > 2],
    ],
    ids=["a number beside a power", "a broadcast before a reshape", "a mask too long to be shown"],
)
def test_what_a_hundred_thousand_programs_have_shown_reads_back(step):
    a, b, leaves, rng = two()
    reads_back([named("y", step(a, b))], leaves, rng)


@pytest.mark.usefixtures("erf_without_scipy")
@pytest.mark.parametrize("row", ROWS + COMPOSITES, ids=lambda row: row.label)
@each_case
def test_the_picture_of_every_operation_reads_back(row, inputs, static, rng):
    """Of small arrays, whose masks and indices show all of their values."""
    leaves = {f"x{i}": x for i, x in enumerate(inputs)}
    with np.errstate(all="ignore"):
        y = row.call(*(tn.tensor(x, requires_grad=True, name=name) for name, x in leaves.items()), **static)
    outputs = [output for output in (y if isinstance(y, list | tuple) else [y]) if output.node is not None]
    if not outputs or any(x.size > 6 for x in (*inputs, *outputs)):
        return
    for i, output in enumerate(outputs):
        output.name = f"y{i}"
    reads_back(outputs, leaves, rng)


@given(programs())
def test_the_svg_of_random_programs_reads_back(program):
    """With the eyes alone: which box a line comes from and leads to is where it ends."""
    outputs, leaves, rng = program
    reads_back(outputs, leaves, rng, read=seen_in)


@pytest.mark.exhaustive
@settings(max_examples=2000)
@given(programs())
def test_pictures_of_thousands_of_programs_read_back(program):
    outputs, leaves, rng = program
    reads_back(outputs, leaves, rng)


def again(y, leaves):
    """The recorded program, run on other leaves."""
    values = dict(leaves)
    for t in reversed(walk([y])):
        inputs = [values.get(x, x) if isinstance(x, tn.Tensor) else x for x in t.node.inputs]
        values[t] = named(t.name, record(t.node.primitive, tuple(inputs), t.node.static))
    return values[y]


@given(programs())
def test_formulas_of_the_explorer_read_back(program):
    """Each formula, of the names that the page gives to what it was computed from."""
    (y,), *_ = program
    operands = dict.fromkeys(x for t in walk([y]) for x in t.node.inputs if isinstance(x, tn.Tensor))
    used = [x for x in operands if x.node is None and x.requires_grad]
    if not y.requires_grad:
        return
    inputs = {x.name: x.data for x in used}
    recording = Recording(lambda *xs: again(y, dict(zip(used, xs, strict=True))), inputs)
    seen = {t: recording.called(t).text for t in recording.tensors}
    # Whatever is not called by its own formula has a name, and no two have one name.
    names = [t for t in seen if t.node is None or seen[t] != recording.computed_by(t).text or t.name]
    atoms = {seen[t]: t.data for t in names}
    assert len(atoms) == len(names)
    if recording.epsilon is not None:
        atoms["ε"] = np.array(recording.epsilon)
    for t in recording.tensors:
        if t.node is not None:
            formula = recording.computed_by(t).text
            found = fitted(Formula(formula, {**atoms, **recording.data}, shape=t.shape).value(), t.shape)
            np.testing.assert_allclose(found, t.data, rtol=1e-4, atol=1e-4, err_msg=formula)


def two():
    """Two leaves and random cotangents."""
    rng = np.random.default_rng(5)
    leaves = {"a": rng.normal(size=(3, 3)).round(2) + 3, "b": rng.normal(size=(3, 3)).round(2)}
    return *(tn.tensor(x, requires_grad=True, name=name) for name, x in leaves.items()), leaves, rng


STEPS = {
    "which side a number stands on": lambda a, b: 1 - a,
    "which operand is which": lambda a, b: np.tanh(a) - np.sin(b),
    "a transposition": lambda a, b: a @ a.T,
    "where an index reads": lambda a, b: a[1:] * 2.0,
    "what is chosen from which": lambda a, b: np.where(np.eye(3, dtype=bool), a, b),
    "the exponent": lambda a, b: a**3,
    "over which axes": lambda a, b: np.cumsum(a * b, axis=1),
    "that a value is used twice": lambda a, b: a * a,
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_picture_that_does_not_say_it_is_found_out(kind, monkeypatch):
    a, b, leaves, rng = two()
    y = named("y", STEPS[kind](a, b))
    reads_back([y], leaves, rng)
    silent = {
        "which side a number stands on": (naming, "_text", lambda *_: "− 1"),
        "which operand is which": (naming, "COMMUTATIVE", {*naming.COMMUTATIVE, "subtract"}),
        "a transposition": (fold, "_mark", lambda *_: "cast"),
        "where an index reads": (formulas, "index_text", lambda *_: ""),
        "what is chosen from which": (
            naming, "_text", lambda expression, *_: "where(mask, b, a)" if expression.kind == "where" else "×"
        ),
        "the exponent": (formulas, "_RAISED", str.maketrans("0123456789", "⁰¹²²⁴⁵⁶⁷⁸⁹")),
        "over which axes": (tracing, "over", lambda axis, names: "axis 0"),
        "that a value is used twice": (dot, "_add_edge", once(dot._add_edge)),
    }  # fmt: skip
    if kind == "a transposition":
        monkeypatch.setattr(fold, "_OF_MATRICES", ())
    monkeypatch.setattr(*silent[kind])
    y = named("y", STEPS[kind](a, b))
    with pytest.raises((AssertionError, ValueError, IndexError)):
        reads_back([y], leaves, rng)


def once(add_edge):
    """As pictures do that keep edges in a set."""
    seen = set()

    def add(dot, edge, *args):
        if (edge.source, edge.target) not in seen:
            seen.add((edge.source, edge.target))
            add_edge(dot, edge, *args)

    return add
