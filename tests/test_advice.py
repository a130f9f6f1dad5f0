"""What a refusal says is right: each expression is evaluated beside the function that it stands for."""

import numpy as np
import pytest
from numpy_agreement import drawn

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.engine.operators import FUNCTIONS
from tinygrad_norm.engine.ops.advice import ADVICE, qualified

MATRIX, VECTOR, OTHER = drawn((4, 3)), drawn((5,)), drawn((5,), 1)


def changed(function):
    """What an array holds after a function changed it in place."""

    def run(x, *args):
        copy = x.copy()
        function(copy, *args)
        return copy

    return run


def twice(v):
    return v * v


# For each: the function as NumPy runs it on the operands x and y, these, and what else the expression names.
CALLS = {
    "np.add.at": (lambda x, y: changed(np.add.at)(x, [0, 2, 2], y), (VECTOR, drawn((3,))), {"index": [0, 2, 2]}),
    "np.subtract.at": (lambda x, y: changed(np.subtract.at)(x, [1, 1], y), (VECTOR, drawn((2,))), {"index": [1, 1]}),
    "np.add.reduceat": (lambda x: np.add.reduceat(x, [0, 1, 3]), (MATRIX,), {"index": [0, 1, 3]}),
    "np.apply_along_axis": (lambda x: np.apply_along_axis(twice, -1, x), (MATRIX,), {"f": twice}),
    "np.block": (lambda x, y: np.block([[x, y], [y, x]]), (MATRIX, MATRIX + 1), {}),
    "np.copysign": (np.copysign, (VECTOR, OTHER), {}),
    "np.corrcoef": (np.corrcoef, (MATRIX,), {}),
    "np.cov": (np.cov, (MATRIX,), {}),
    "np.fft.fftshift": (np.fft.fftshift, (MATRIX[:, :2],), {}),
    "np.fft.ifftshift": (np.fft.ifftshift, (MATRIX,), {}),
    "np.geomspace": (np.geomspace, (np.array(0.5), np.array(3.0)), {}),
    "np.insert": (lambda x, y: np.insert(x, 2, y), (VECTOR, np.array(2.5)), {"index": 2}),
    "np.ldexp": (lambda x: np.ldexp(x, 3), (VECTOR,), {"n": 3}),
    "np.logspace": (np.logspace, (np.array(0.5), np.array(1.5)), {}),
    "np.meshgrid": (np.meshgrid, (VECTOR, OTHER[:3]), {}),
    "np.piecewise": (
        lambda x: np.piecewise(x, [x > 0, x <= 0], [np.exp, twice]),
        (VECTOR,),
        {"condition": VECTOR > 0, "f": np.exp, "g": twice},
    ),
    "np.polyval": (lambda x: np.polyval([1.0, -2.0, 3.0], x), (VECTOR,), {"p": [1.0, -2.0, 3.0]}),
    "np.lib.stride_tricks.sliding_window_view": (
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)),
        (MATRIX,),
        {"window_shape": (2, 2)},
    ),
    "np.linalg.lstsq": (lambda x, y: np.linalg.lstsq(x, y)[0], (MATRIX, drawn((4, 2))), {}),
    "np.linalg.pinv": (np.linalg.pinv, (MATRIX,), {}),
    "np.linalg.tensorsolve": (np.linalg.tensorsolve, (drawn((2, 3, 6)), drawn((2, 3))), {}),
    "np.copyto": (changed(lambda x, y: np.copyto(x, y, where=VECTOR > 0)), (VECTOR, OTHER), {"condition": VECTOR > 0}),
    "np.putmask": (changed(lambda x, y: np.putmask(x, VECTOR > 0, y)), (VECTOR, OTHER), {"condition": VECTOR > 0}),
    "np.place": (
        changed(lambda x, y: np.place(x, VECTOR > 0, [y])),
        (VECTOR, np.array(2.5)),
        {"condition": VECTOR > 0},
    ),
    "np.fill_diagonal": (changed(np.fill_diagonal), (MATRIX[:3], np.array(2.5)), {}),
}


def flat(result):
    return [np.ravel(part) for part in (result if isinstance(result, tuple | list) else [result])]


def test_every_advice_is_tried():
    assert set(CALLS) == set(ADVICE)


@pytest.mark.parametrize("name", CALLS)
def test_advice_gives_numpys_values_with_their_gradient(name):
    reference, operands, names = CALLS[name]
    expression = ADVICE[name].split(", if ")[0].split(", for ")[0].split(", a new")[0]
    xs = [Tensor(x, requires_grad=True) for x in operands]
    named = {"np": np, "tn": tn, **names, **dict(zip("xy", xs, strict=False))}
    if name == "np.block":
        named["rows"] = [[xs[0], xs[1]], [xs[1], xs[0]]]
    y = np.concatenate(flat(eval(expression, named)))
    np.testing.assert_allclose(y.data, np.concatenate(flat(reference(*operands))), rtol=1e-10)
    rng = np.random.default_rng(1)
    g, h = rng.normal(size=y.shape), 1e-6
    for i, (x, gradient) in enumerate(zip(operands, tn.grad(y, xs, g), strict=True)):
        v = rng.normal(size=x.shape)
        ends = [np.concatenate(flat(reference(*operands[:i], x + step * v, *operands[i + 1 :]))) for step in (h, -h)]
        slope = np.sum(g * (ends[0] - ends[1])) / (2 * h)
        np.testing.assert_allclose(np.sum(v * gradient.data), slope, rtol=1e-6, atol=1e-6)


def refused():
    """Every function of NumPy's that meets Tensors and is not in the table."""
    for module in (np, np.linalg, np.fft):
        for name in dir(module):
            function = getattr(module, name)
            takes_tensors = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
            if takes_tensors and not name.startswith("_") and function not in FUNCTIONS:
                yield function


def test_a_refusal_names_the_whole_function_and_guesses_none():
    names = set()
    for function in refused():
        message = FUNCTIONS["advice"](function)
        assert message.startswith(f"{qualified(function)} "), message
        says = (
            "; use ",
            "has no gradient here; pass .data to compute it without a gradient",
        )
        assert any(words in message for words in says), message
        names.add(qualified(function))
    assert {"np.linalg.svd", "np.fft.fft", "np.interp"} <= names
    # No advice for what works by now.
    functions = [
        name for name in ADVICE if not name.endswith(".at") and "stride" not in name and "reduceat" not in name
    ]
    assert set(functions) <= names


def test_methods_of_ufuncs_have_advice_of_their_own():
    x, y = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    for ufunc in (np.multiply, np.subtract, np.maximum):
        with pytest.raises(TypeError) as refusal:
            ufunc.outer(x, y)
        expression = str(refusal.value).split("; use ")[1].split(", for")[0]
        got = eval(expression, {"np": np, "x": x, "y": y})
        np.testing.assert_array_equal(got.data, ufunc.outer(x.data, y.data))
    with pytest.raises(TypeError, match=r"use np\.cumsum\(x, axis=0\)"):
        np.add.accumulate(x)
    with pytest.raises(TypeError, match=r"^np\.gcd\.reduce of Tensors has no gradient here"):
        np.gcd.reduce(x)
