"""Folding a batch norm into the linear layer before it.

At test time a linear layer and the batch norm after it compute

    z = x @ weight.T + bias
    y = gamma * (z - mean) / sqrt(var + EPS) + beta

with the running statistics mean and var, which are constants. Both steps are linear, so one linear layer can do both:

    y = x @ new_weight.T + new_bias

weight has shape (M, K), as in PyTorch: M outputs, K inputs. bias, gamma, beta, mean and var have shape (M,).

Write fold(weight, bias, gamma, beta, mean, var). It returns the pair (new_weight, new_bias), of shapes (M, K) and (M,),
and does not change its arguments.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "fold"
EPS = 1e-3


def fold(weight, bias, gamma, beta, mean, var):
    """Return new_weight, of shape (M, K), and new_bias, of shape (M,)."""
    scale = gamma / np.sqrt(var + EPS)
    return weight * scale[:, None], (bias - mean) * scale + beta


# The judge's part: not in the student's file.

FILL_IN = ("fold",)
INPUTS = {"weight": "m k", "bias": "m", "gamma": "m", "beta": "m", "mean": "m", "var": "m"}
RETURNS = {"fold": ("new_weight", "new_bias")}
OPTIONS = {"domains": {"var": "positive"}}
HINTS = (
    "Substitute the first line into the second, and collect the terms with x and those without.",
    "With scale = gamma / sqrt(var + EPS): y = scale * (x @ weight.T) + scale * (bias - mean) + beta.",
    "scale belongs to outputs, the rows of weight: weight * scale[:, None].",
)


def unscaled_bias(weight, bias, gamma, beta, mean, var):
    """The layer's bias is not scaled: batch norm multiplies it by gamma / sqrt(var + EPS) as well."""
    scale = gamma / np.sqrt(var + EPS)
    return weight * scale[:, None], bias - mean * scale + beta


def mean_lost(weight, bias, gamma, beta, mean, var):
    """The running mean is lost: it is subtracted before the scaling, so the bias is (bias - mean) * scale + beta."""
    scale = gamma / np.sqrt(var + EPS)
    return weight * scale[:, None], bias * scale + beta


def no_root(weight, bias, gamma, beta, mean, var):
    """This divides by the variance: the square root is missing."""
    scale = gamma / (var + EPS)
    return weight * scale[:, None], (bias - mean) * scale + beta


def no_eps(weight, bias, gamma, beta, mean, var):
    """EPS is missing: batch norm divides by sqrt(var + EPS)."""
    scale = gamma / np.sqrt(var)
    return weight * scale[:, None], (bias - mean) * scale + beta


def beta_scaled(weight, bias, gamma, beta, mean, var):
    """beta is scaled as well, but it is added after the scaling."""
    scale = gamma / np.sqrt(var + EPS)
    return weight * scale[:, None], (bias - mean + beta) * scale


WRONG = {
    "fold": {
        unscaled_bias: "folding",
        mean_lost: "folding",
        no_root: "wrong-power",
        no_eps: "epsilon",
        beta_scaled: "folding",
    },
}
