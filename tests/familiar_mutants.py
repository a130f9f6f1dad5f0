"""Mutants of other functions, in other words, each with the diagnosis that it deserves: to write one with.

The functions and their closed forms share nothing with `tinygrad_norm.check.correct`, and some mutants have two faults,
which no single word describes. What a diagnosis is worth is measured on `held_out_mutants`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_norm.check.mutants import Mutant, Verdict
from tinygrad_norm.check.strategies import Inputs, inputs

Array = np.ndarray[Any, np.dtype[Any]]
Setting = tuple[Callable[..., Array], Inputs]

EPS = 1e-3


@dataclass(frozen=True)
class Labelled(Mutant):
    """A mutant, and the category that a diagnosis should name.

    Attributes
    ----------
    expected : str
        "sign", "factor", "n/(n-1)", "batch size", "mean path", "variance path", "statistics as constants", "eps",
        "wrong axis", "unreduced broadcast", "transposed", "elementwise" or "unknown".
    """

    expected: str


def labelled(
    function: str,
    setting: Setting,
    fault: str,
    expected: str,
    backward: Callable[..., Any],
    verdict: Verdict = "WRONG_VALUE",
) -> Labelled:
    """Return a mutant whose gradients own their memory."""
    forward, given = setting

    def owned(g: Array, *xs: Array) -> tuple[Array, ...]:
        return tuple(np.array(d, dtype=x.dtype) for d, x in zip(backward(g, *xs), xs, strict=True))

    return Labelled(f"{function}: {fault}", fault, forward, lambda: owned, given, verdict, expected)


def mean(a: Array, axes: Any) -> Array:
    return a.mean(axis=axes, keepdims=True) if a.size else a.sum(axis=axes, keepdims=True)


# Standardized over any axes, with the two corrections of the gradient weighed: 1 is right, 0 is none.


def standardized(x: Array, axes: Any) -> tuple[Array, Array]:
    centred = x - mean(x, axes)
    deviation = np.sqrt(mean(centred * centred, axes) + EPS)
    return centred / deviation, deviation


def pulled_back(dy: Array, x: Array, axes: Any, of_mean: float = 1, of_variance: float = 1, over: Any = None) -> Array:
    y, deviation = standardized(x, axes)
    over = axes if over is None else over
    return (dy - of_mean * mean(dy, over) - of_variance * y * mean(dy * y, over)) / deviation


# Batch norm of sequences, "n c l": statistics over samples and places.


def sequences(x: Array, weight: Array, bias: Array) -> Array:
    return standardized(x, (0, 2))[0] * weight[:, None] + bias[:, None]


def sequences_backward(g: Array, x: Array, weight: Array, **faults: Any) -> tuple[Array, Array, Array]:
    dx = pulled_back(g * weight[:, None], x, (0, 2), **faults)
    return dx, (g * standardized(x, (0, 2))[0]).sum(axis=(0, 2)), g.sum(axis=(0, 2))


def bessel(a: Array) -> float:
    n = a.shape[0] * a.shape[2]
    return n / max(n - 1, 1)


SEQUENCES = sequences, inputs("n c l", "c", "c")
NARROW_SEQUENCES = lambda x, w, b: sequences(x / 8, w, b), SEQUENCES[1]


def narrow_sequences_without_eps(g: Array, x: Array, w: Array, b: Array) -> tuple[Array, Array, Array]:
    dx, dw, db = sequences_backward(g, x / 8, w)
    variance = mean((x / 8 - mean(x / 8, (0, 2))) ** 2, (0, 2))
    return dx / 8 * np.sqrt((variance + EPS) / np.maximum(variance, 1e-300)), dw, db


# Layer norm of pictures without parameters, "n h w": statistics over both sides.

PICTURES = lambda x: standardized(x, (1, 2))[0], inputs("n h w")
NARROW_PICTURES = lambda x: standardized(x / 16, (1, 2))[0], inputs("n h w")


def narrow_pictures_eps_outside(g: Array, x: Array) -> tuple[Array]:
    deviation = standardized(x / 16, (1, 2))[1]
    variance = mean((x / 16 - mean(x / 16, (1, 2))) ** 2, (1, 2))
    return (pulled_back(g, x / 16, (1, 2)) / 16 * deviation / (np.sqrt(variance) + EPS),)


# Log-softmax over the first axis, and centring alone.


def shares(x: Array) -> Array:
    powers = np.exp(x - x.real.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def log_softmax(x: Array) -> Array:
    shifted = x - x.real.max(axis=0, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))


LOG_SOFTMAX = log_softmax, inputs("k c", edges=("constant", "ties", "zeros", "tiny", "size 1", "strided", "float32"))
CENTRED = lambda x: x - mean(x, -1), inputs("n c", least={"c": 3})


# A variance that divides by n - 1, and its root.


def unbiased(x: Array) -> Array:
    return ((x - mean(x, 0)) ** 2).sum(axis=0) / (len(x) - 1)


SAMPLE_VARIANCE = unbiased, inputs("n c", least={"n": 2}, edges=("constant", "ties", "zeros", "strided", "float32"))
DEVIATION = lambda x: np.sqrt(mean((x - mean(x, 0)) ** 2, 0) + EPS)[0], inputs("n c")


def deviation_backward(g: Array, x: Array) -> Array:
    return g * standardized(x, 0)[0] / max(len(x), 1)


# A weight-normalized linear map: the columns of v have length 1.


def lengths(v: Array) -> Array:
    return np.sqrt((v * v).sum(axis=0) + EPS)


def weight_norm(x: Array, v: Array) -> Array:
    return x @ (v / lengths(v))


def weight_norm_backward(g: Array, x: Array, v: Array, path: float = 1, axis: int = 0) -> tuple[Array, Array]:
    unit = v / lengths(v)
    dunit = x.T @ g
    return g @ unit.T, (dunit - path * unit * (dunit * unit).sum(axis=axis, keepdims=True)) / lengths(v)


WEIGHT_NORM = weight_norm, inputs("n k", "k m")


# A perceptron with a hidden layer, square so that transposed weights fit.


def perceptron(x: Array, first: Array, bias: Array, second: Array) -> Array:
    return np.tanh((x @ first + bias) / 4) @ second


def perceptron_backward(
    g: Array, x: Array, first: Array, bias: Array, second: Array, slope: Callable[[Array], Array] = lambda h: 1 - h * h
) -> tuple[Array, ...]:
    h = np.tanh((x @ first + bias) / 4)
    before = (g @ second.T) * slope(h) / 4
    return before @ first.T, x.T @ before, before.sum(axis=0), h.T @ g


PERCEPTRON = perceptron, inputs("n c", "c c", "c", "c c", least={"n": 2})


def replaced(gradients: tuple[Array, ...], which: int, change: Callable[[Array], Any]) -> tuple[Any, ...]:
    return (*gradients[:which], change(gradients[which]), *gradients[which + 1 :])


# Without a fault, so that it can be shown that the faults are all that is wrong.
RIGHT: tuple[tuple[Setting, Callable[..., Any]], ...] = (
    (SEQUENCES, lambda g, x, w, b: sequences_backward(g, x, w)),
    (PICTURES, lambda g, x: (pulled_back(g, x, (1, 2)),)),
    (NARROW_PICTURES, lambda g, x: (pulled_back(g, x / 16, (1, 2)) / 16,)),
    (LOG_SOFTMAX, lambda g, x: (g - shares(x) * g.sum(axis=0, keepdims=True),)),
    (CENTRED, lambda g, x: (g - mean(g, -1),)),
    (SAMPLE_VARIANCE, lambda g, x: (2 * g * (x - mean(x, 0)) / (len(x) - 1),)),
    (DEVIATION, lambda g, x: (deviation_backward(g, x),)),
    (WEIGHT_NORM, weight_norm_backward),
    (PERCEPTRON, perceptron_backward),
)

FAMILIAR: tuple[Labelled, ...] = (
    labelled("sequence norm", SEQUENCES, "adds where it descends", "sign",
             lambda g, x, w, b: tuple(-d for d in sequences_backward(g, x, w))),
    labelled("sequence norm", SEQUENCES, "the batch mean is taken for fixed", "mean path",
             lambda g, x, w, b: sequences_backward(g, x, w, of_mean=0)),
    labelled("sequence norm", SEQUENCES, "the batch variance is taken for fixed", "variance path",
             lambda g, x, w, b: sequences_backward(g, x, w, of_variance=0)),
    labelled("sequence norm", SEQUENCES, "evaluation's gradient in training", "statistics as constants",
             lambda g, x, w, b: sequences_backward(g, x, w, of_mean=0, of_variance=0)),
    labelled("sequence norm", SEQUENCES, "corrections over samples alone", "wrong axis",
             lambda g, x, w, b: sequences_backward(g, x, w, over=0)),
    labelled("sequence norm", SEQUENCES, "bias left as large as the output", "unreduced broadcast",
             lambda g, x, w, b: replaced(sequences_backward(g, x, w), 2, lambda _: g), "WRONG_SHAPE"),
    labelled("sequence norm", SEQUENCES, "weight summed over samples alone", "unreduced broadcast",
             lambda g, x, w, b: replaced(sequences_backward(g, x, w), 1,
                                         lambda _: (g * standardized(x, (0, 2))[0]).sum(axis=0)), "WRONG_SHAPE"),
    labelled("sequence norm", SEQUENCES, "averaged over samples once more", "batch size",
             lambda g, x, w, b: tuple(d / max(len(x), 1) for d in sequences_backward(g, x, w))),
    labelled("sequence norm", SEQUENCES, "unbiased variance in the correction", "n/(n-1)",
             lambda g, x, w, b: sequences_backward(g, x, w, of_variance=bessel(x))),
    labelled("sequence norm", NARROW_SEQUENCES, "narrow, deviation alone", "eps", narrow_sequences_without_eps),
    labelled("picture norm", PICTURES, "mean's correction added", "mean path",
             lambda g, x: (pulled_back(g, x, (1, 2), of_mean=-1),)),
    labelled("picture norm", PICTURES, "half the variance's correction", "variance path",
             lambda g, x: (pulled_back(g, x, (1, 2), of_variance=0.5),)),
    labelled("picture norm", PICTURES, "corrections over rows alone", "wrong axis",
             lambda g, x: (pulled_back(g, x, (1, 2), over=2),)),
    labelled("picture norm", PICTURES, "no mean's correction, and three times as much", "unknown",
             lambda g, x: (3 * pulled_back(g, x, (1, 2), of_mean=0),)),
    labelled("picture norm", NARROW_PICTURES, "narrow, eps added to the deviation", "eps", narrow_pictures_eps_outside),
    labelled("log-softmax", LOG_SOFTMAX, "total over the other axis", "wrong axis",
             lambda g, x: (g - shares(x) * g.sum(axis=1, keepdims=True),)),
    labelled("log-softmax", LOG_SOFTMAX, "total forgotten", "elementwise", lambda g, x: (g - shares(x) * g,)),
    labelled("log-softmax", LOG_SOFTMAX, "softmax minus target", "sign",
             lambda g, x: (shares(x) * g.sum(axis=0, keepdims=True) - g,)),
    labelled("centring", CENTRED, "passed straight through", "mean path", lambda g, x: (g,)),
    labelled("sample variance", SAMPLE_VARIANCE, "gradient of the biased one", "n/(n-1)",
             lambda g, x: (2 * g * (x - mean(x, 0)) / len(x),)),
    labelled("standard deviation", DEVIATION, "the root's half kept", "factor",
             lambda g, x: (deviation_backward(g, x) / 2,)),
    labelled("standard deviation", DEVIATION, "a sum for the mean", "batch size",
             lambda g, x: (deviation_backward(g, x) * len(x),)),
    labelled("weight norm", WEIGHT_NORM, "three times the direction's", "factor",
             lambda g, x, v: replaced(weight_norm_backward(g, x, v), 1, lambda d: 3 * d)),
    labelled("weight norm", WEIGHT_NORM, "projected over rows", "wrong axis",
             lambda g, x, v: weight_norm_backward(g, x, v, axis=1)),
    labelled("weight norm", WEIGHT_NORM, "projected out twice", "unknown",
             lambda g, x, v: weight_norm_backward(g, x, v, path=2)),
    labelled("perceptron", PERCEPTRON, "slope of tanh not squared", "unknown",
             lambda g, *xs: perceptron_backward(g, *xs, slope=lambda h: 1 - h)),
    labelled("perceptron", PERCEPTRON, "first weight by outputs and inputs", "transposed",
             lambda g, *xs: replaced(perceptron_backward(g, *xs), 1, np.transpose)),
    labelled("perceptron", PERCEPTRON, "bias for each sample", "unreduced broadcast",
             lambda g, x, a, b, c: replaced(perceptron_backward(g, x, a, b, c), 2,
                                            lambda _: (g @ c.T) * (1 - np.tanh((x @ a + b) / 4) ** 2) / 4),
             "WRONG_SHAPE"),
    labelled("perceptron", PERCEPTRON, "mean loss for the sum", "batch size",
             lambda g, *xs: tuple(d / max(len(xs[0]), 1) for d in perceptron_backward(g, *xs))),
    labelled("perceptron", PERCEPTRON, "second weight descends", "sign",
             lambda g, *xs: replaced(perceptron_backward(g, *xs), 3, np.negative)),
)  # fmt: skip
