"""Each pass of `fuse` by itself; and with each of them broken in turn, the comparison with the composition sees it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_norm as tn
from tests.fused_cases import CASES, ROWS, Case, inputs_for, interpreted
from tinygrad_norm.fusing import algebra, axes, build, kernels, loops, run, schedule, terms, trace
from tinygrad_norm.fusing.algebra import Loops
from tinygrad_norm.fusing.axes import Axis, uncut, unify
from tinygrad_norm.fusing.terms import Output, Program, Terms, below
from tinygrad_norm.fusing.trace import Given
from tinygrad_norm.fusing.unknown import UnfusableError, unknown

Array = np.ndarray[Any, np.dtype[Any]]

# Arrays without values.


def test_arrays_without_values_know_shape_and_dtype() -> None:
    x, w = unknown((3, 4), "f4"), unknown((4,), "f4")
    for y, shape, dtype in (
        (x * w + 1.0, (3, 4), "f4"),
        (np.add.reduce(x, axis=0, keepdims=True), (1, 4), "f4"),
        (x <= 0, (3, 4), "?"),
        (np.where(x > 0, x, 0), (3, 4), "f4"),
        (x.astype("f8"), (3, 4), "f8"),
        (x.reshape(2, 6), (2, 6), "f4"),
        (x.T, (4, 3), "f4"),
        (np.broadcast_to(w, (2, 4)), (2, 4), "f4"),
    ):
        assert (y.shape, y.dtype) == (shape, np.dtype(dtype))
        assert y.strides == (0,) * y.ndim
    for asks in (bool, float, int, lambda x: x[0], lambda x: x.item(), np.linalg.norm, lambda x: x @ x.T):
        with pytest.raises(UnfusableError):
            asks(x)


# Axes.


def _sizes(found: list[Axis]) -> list[int]:
    return [axis.size for axis in found]


def test_a_reshape_cuts_axes_wherever_they_stand() -> None:
    channels, space = Axis(6), Axis(10)
    elsewhere = Axis(6)
    unify([elsewhere], [channels])
    unify([channels, space], [Axis(2), Axis(3), Axis(10)])
    assert _sizes(uncut([elsewhere])) == [2, 3]
    assert uncut([elsewhere]) == uncut([channels])
    assert _sizes(uncut([space])) == [10]


def test_axes_are_cut_until_they_fit() -> None:
    a, b = [Axis(4), Axis(6)], [Axis(2), Axis(12)]
    unify(a, b)
    assert uncut(a) == uncut(b)
    assert _sizes(uncut(a)) == [2, 2, 6]
    with pytest.raises(UnfusableError, match="cuts an axis of 4 into parts of 3"):
        unify([Axis(3), Axis(4)], [Axis(4), Axis(3)])


def _traced(fn: Callable[..., Any], *shapes: tuple[int, ...], dtype: str = "f4") -> trace.Traced:
    given = [Given(name, shape, np.dtype(dtype)) for name, shape in zip("xwbrm", shapes, strict=False)]
    return trace.trace(fn, given, "f", {"eps": 1e-5})


def test_loops_of_the_norms() -> None:
    """Axes side by side are one loop, groups cut the channels, what statistics keep stands outside."""
    for fn, shape, sizes, wanted in (
        (tn.batch_norm, (4, 6, 3, 5), {"n": 4, "c": 6, "s": 15}, Loops(("c",), ("n", "s"), ())),
        (tn.batch_norm, (4, 6), {"n": 4, "c": 6}, Loops((), ("n",), ("c",))),
        (lambda x: tn.layer_norm(x, 5), (4, 6, 5), {"n": 24, "s": 5}, Loops(("n",), ("s",), ())),
        (lambda x: tn.layer_norm(x, (6, 5)), (4, 6, 5), {"n": 4, "c": 30}, Loops(("n",), ("c",), ())),
        (lambda x: tn.group_norm(x, 2), (4, 6, 5), {"n": 8, "c": 15}, Loops(("n",), ("c",), ())),
        (tn.instance_norm, (4, 6, 3, 5), {"n": 24, "s": 15}, Loops(("n",), ("s",), ())),
        (tn.ops.silu, (4, 6, 3, 5), {"n": 360}, Loops(("n",), (), ())),
    ):
        traced = _traced(fn, shape)
        assert dict(traced.sizes) == sizes
        assert algebra.choose_loops(traced.forward) == wanted


# Terms.


def test_equal_terms_are_one_and_arithmetic_needs_no_array() -> None:
    t = Terms()
    x, y = t.input("x", "nc"), t.input("y", "nc")
    zero, one = t.number(-0.0), t.number(1)
    assert t.apply("add", x, y) is t.apply("add", y, x)
    assert t.apply("subtract", x, y) is not t.apply("subtract", y, x)
    assert t.apply("add", x, zero) is t.apply("multiply", one, x) is t.apply("divide", x, one) is x
    minus = t.apply("negative", x)
    assert t.apply("negative", minus) is x
    assert t.apply("add", y, minus) is t.apply("subtract", y, x)
    assert t.apply("multiply", t.number(2), t.number(3)) is t.number(6)
    assert t.apply("add", x, t.number(0.0)) is not x  # -0.0 + 0.0 is 0.0
    # What is not a number times 0 is not 0: it may be infinite.
    assert t.apply("multiply", x, zero) is not zero


def test_sums_over_what_only_repeats() -> None:
    t = Terms()
    w = t.input("w", "c")
    assert t.reduce("mean", w, "n") is w
    assert t.reduce("sum", w, "n") is t.apply("multiply", t.count("n"), w)
    inside = t.reduce("sum", w, "nc")
    assert inside is t.apply("multiply", t.count("n"), t.reduce("sum", w, "c"))


# Algebra.


def _program(t: Terms, **outputs: tuple[Any, str]) -> Program:
    written = tuple(Output(name, term, tuple(layout)) for name, (term, layout) in outputs.items())
    layouts = {
        t.value: tuple(sorted(t.axes, key="ncs".index)) for t in below(o.term for o in written) if t.op == "input"
    }
    return Program("f", layouts, written, t, {})


def test_constants_leave_a_sum_and_it_is_split_where_that_saves_a_sweep() -> None:
    t = Terms()
    g, d, w = t.input("g", "nc"), t.input("d", "nc"), t.input("w", "c")
    loops_ = Loops((), ("n",), ("c",))
    by_w = t.reduce("sum", t.apply("multiply", g, w), "n")
    k = t.reduce("sum", t.apply("multiply", g, d), "n")
    late = t.reduce("sum", t.apply("add", t.apply("multiply", g, w), t.apply("multiply", d, k)), "n")
    early = t.reduce("sum", t.apply("add", g, d), "n")
    program = algebra.with_linear_sums(_program(t, a=(by_w, "c"), b=(late, "c"), e=(early, "c")), loops_)
    a, b, e = (output.term for output in program.outputs)
    sums = {name: t.reduce("sum", x, "n") for name, x in (("g", g), ("d", d))}
    assert a is t.apply("multiply", w, sums["g"])
    assert b is t.apply("add", t.apply("multiply", w, sums["g"]), t.apply("multiply", k, sums["d"]))
    assert e is early
    assert len(schedule.schedule(program, loops_).sweeps) == 1
    assert len(schedule.schedule(_program(t, b=(late, "c")), loops_).sweeps) == 2


def test_centred_terms_stay_whole() -> None:
    t = Terms()
    x, g, mean = t.input("x", "nc"), t.input("g", "nc"), t.input("mean", "c")
    k = t.reduce("sum", g, "n")
    product = t.apply("multiply", t.apply("subtract", x, mean), t.apply("multiply", g, k))
    (output,) = algebra.with_linear_sums(
        _program(t, y=(t.reduce("sum", product, "n"), "c")), Loops((), ("n",), ("c",))
    ).outputs
    assert all(term.args != (x, g) for term in below([output.term]))
    assert any(term.op == "subtract" and term.args == (x, mean) for term in below([output.term]))


def test_the_backward_pass_saves_statistics_only() -> None:
    for case, names in (
        ("batch norm, images", ["mu", "rstd"]),
        ("layer norm, sequences", ["mu", "rstd"]),
        ("rms norm", ["rstd"]),
        ("GELU", []),
        ("batch norm at test time", []),
    ):
        traced = _traced(CASES[case].fn, *CASES[case].shapes)
        assert [output.name for output in build.staged(traced, "f4").saved] == names


def test_parts_of_sums_within_a_sweep() -> None:
    """Group norm: γ does not vary along space, so it is multiplied by the sums over space, in the same sweep."""
    case = CASES["group norm, images"]
    stages = build.staged(_traced(case.fn, *case.shapes), "f4")
    first, last = build.scheduled_backward(stages.backward[0], stages.forward.loops.kept).sweeps
    assert len(first.parts) == 2
    assert {s.axes for s in first.across} == {frozenset("gc")}
    assert not last.parts + last.sums


def test_sums_over_kept_loops_run_in_the_first_sweep_that_reads_their_arrays() -> None:
    for name, number in (("layer norm, sequences", 2), ("rms norm", 1)):
        case = CASES[name]
        stages = build.staged(_traced(case.fn, *case.shapes), "f4")
        first, last = build.scheduled_backward(stages.backward[0], stages.forward.loops.kept).sweeps
        assert (len(first.across), len(last.across)) == (number, 0)


# With a pass broken, the comparison sees it.


@pytest.fixture
def as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="fuse compiles with numba, which the extra `compile` installs")
    monkeypatch.setattr(kernels, "compiled", interpreted)


CHECKED = {
    **{name: CASES[name] for name in (
        "batch norm, images", "batch norm, rows", "layer norm, sequences", "rms norm", "group norm, images",
        "instance norm", "norm, sum, ReLU", "softmax", "cross-entropy with probabilities", "an affine step", "a loss",
        "channels at each position", "largest values",
    )},
    "standardized rows": CASES["standardized rows"],
    "divided": Case(lambda x, w: x / (1.5 + w * w), (ROWS, (1, 6)), 1, 1),
    "squared": Case(lambda x: (tn.layer_norm(x, 6) ** 2).mean(), (ROWS,), 3, 2),
    "difference": Case(lambda x, w: w - tn.normalize(x - w, "n c -> c") * w, (ROWS, ROWS), 3, 2),
    "moved": Case(lambda x: np.moveaxis(tn.normalize(x, "n c s -> c") ** 3, 0, 1), ((2, 3, 4),), 4, 2),
    "repeated": Case(lambda x, w: (x * 0 + w).sum(0) * w, (ROWS, (1, 6)), 1, 1),
}  # fmt: skip


def disagreements() -> Iterator[str]:
    """Yield every way in which compiled functions differ from compositions."""
    for name, case in CHECKED.items():
        fused = tn.fuse(case.fn)
        for seed in range(2):
            leaves = [tn.tensor(x, requires_grad=True) for x in inputs_for(case, "float64", seed)]
            try:
                y, z = fused(*leaves), case.fn(*leaves)
                g = np.random.default_rng(seed).standard_normal(z.shape)
                pairs = zip([y, *tn.grad(y, leaves, g)], [z, *tn.grad(z, leaves, g)], strict=True)
                if not all(np.allclose(a.data, b.data, rtol=1e-9, atol=1e-9) for a, b in pairs):
                    yield name
            except Exception as error:
                yield f"{name}: {error!r}"
        if fused.fallbacks:
            yield f"{name}: {fused.fallbacks}"
    for dtype in ("float32", "float64"):
        for value, n in ((98765.4, 7), (14.1, 3), (1e8 + 0.1, 7), (1e8 + 0.1, 11)):
            rows = np.full((3, n), value, dtype)
            if abs(tn.fuse(lambda x: tn.layer_norm(x, x.shape[1:]))(rows)).max() > 1e-6:
                yield f"{dtype}: equal values have deviations"
    try:
        test_centred_terms_stay_whole()
    except AssertionError:
        yield "a centred term is taken apart"
    x = (np.random.default_rng(0).standard_normal((16, 8)) + 1e4).astype(np.float32)
    leaf, g = tn.tensor(x, requires_grad=True), np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    exact = tn.tensor(x.astype(np.float64), requires_grad=True)

    def fn(x: Any) -> Any:
        return (2.0 * tn.normalize(x, "n c -> c")) ** 2

    wanted = tn.grad(fn(exact), exact, g.astype(np.float64)).data
    if abs(tn.grad(tn.fuse(fn)(leaf), leaf, g).data - wanted).max() > 1e-3 * abs(wanted).max():
        yield "cancellation"


MUTANTS: dict[str, tuple[Any, str, str]] = {
    "a difference is added": (
        algebra._added,
        "[((terms.number(-1), *factors), divisors)",
        "[(factors, divisors)",
    ),
    "centred terms are split": (algebra._expanded, "all(a.axes & over for a in term.args)", "term.axes & over"),
    "an addend is lost": (terms.Terms.total, 'self.apply("add", result, part)', "part"),
    "a factor is lost": (
        algebra.with_collected_terms,
        'terms.apply("add", gathered[varying], k) if varying in gathered else k',
        "k",
    ),
    "a level too early": (schedule.schedule, "+ (term in full)", "+ 0"),
    "all in the first sweep": (schedule.schedule, "place = next(fitting, count - 1)", "place = 0"),
    "a transposition is forgotten": (
        axes.Layouts.add,
        'self.dims[operands[0]][i] for i in node.static["axes"]',
        "self.dims[operands[0]]",
    ),
    "a repetition is not counted": (terms.Terms.reduce, 'op == "sum" and repeated', "False"),
    "a statistic of another call": (
        run.Fused.__call__,
        "tuple(made[call.count :])",
        'self.__dict__.setdefault("stale", tuple(made[call.count :]))',
    ),
    "a statistic is saved too early": (
        build.staged,
        "reading(program, saved)",
        "reading(program, dict(zip(saved, [*saved.values()][::-1])))",
    ),
    "means are not corrected": (algebra.with_corrected_means, "if term not in centring:", "if True:"),
    "means are added up in float32": (loops._Writer._summed_in_float32, "and t not in centring", ""),
    "sums across start anywhere": (
        loops._Writer.start_across,
        "{self.literal(0) if own else '0.0'}",
        "{self.literal(7) if own else '7.0'}",
    ),
    "1/n of other axes": (trace._Reading._averaged, "self.names.each(averaged)", "self.names.sizes"),
    "a mean is a sum": (loops._Writer.total, "/ {f'({over})' if ' ' in over else over}", ""),
}


@pytest.mark.usefixtures("as_python")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_without_a_fault_there_is_no_disagreement() -> None:
    assert list(disagreements()) == []


@pytest.mark.usefixtures("as_python")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_pass_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, right, wrong = MUTANTS[name]
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1
    made: dict[str, Any] = {}
    exec(
        compile(f"from __future__ import annotations\n{source.replace(right, wrong)}", name, "exec"),
        function.__globals__,
        made,
    )
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)
    assert next(disagreements(), None) is not None
