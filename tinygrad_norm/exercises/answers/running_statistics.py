"""Running statistics: what batch norm keeps for test time.

After each batch in training, batch norm moves its running statistics towards those of the batch:

    new = (1 - MOMENTUM) * old + MOMENTUM * statistic of the batch

MOMENTUM is the weight of the new value, as in PyTorch. The statistics of the batch are the mean over axis 0 and the
unbiased variance, which divides by N - 1. (The batch itself is normalized with the biased one.)

x has shape (N, C) with N at least 2; running_mean and running_var have shape (C,).

Write update(x, running_mean, running_var). It returns the new pair, and does not change its arguments.

Use NumPy only; the gradients and norms of tinygrad_norm are refused.
"""

import numpy as np

EXERCISE = "running_statistics"
MOMENTUM = 0.1


def update(x, running_mean, running_var):
    """Return the new running_mean and the new running_var, both of shape (C,)."""
    new_mean = (1 - MOMENTUM) * running_mean + MOMENTUM * x.mean(axis=0)
    new_var = (1 - MOMENTUM) * running_var + MOMENTUM * x.var(axis=0, ddof=1)
    return new_mean, new_var


# The judge's part: not in the student's file.

FILL_IN = ("update",)
INPUTS = {"x": "n c", "running_mean": "c", "running_var": "c"}
RETURNS = {"update": ("running_mean", "running_var")}
OPTIONS = {"domains": {"running_var": "positive"}, "least": {"n": 2}}
HINTS = (
    "Write the weighted mean of old and new for one of the two first; the other is the same with another statistic.",
    "In PyTorch's convention a MOMENTUM of 0.1 keeps nine tenths of the old value.",
    "The unbiased variance is x.var(axis=0, ddof=1), or x.var(axis=0) * N / (N - 1).",
)


def other_way_round(x, running_mean, running_var):
    """The momentum is the other way round: here, as in PyTorch, it is the weight of the new value."""
    mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
    return MOMENTUM * running_mean + (1 - MOMENTUM) * mean, MOMENTUM * running_var + (1 - MOMENTUM) * var


def biased(x, running_mean, running_var):
    """This is the biased variance, which divides by N; running_var takes the unbiased one, which divides by N - 1."""
    return update(x, running_mean, running_var)[0], (1 - MOMENTUM) * running_var + MOMENTUM * x.var(axis=0)


def deviation(x, running_mean, running_var):
    """The standard deviation is averaged; running_var takes the variance."""
    new = (1 - MOMENTUM) * running_var + MOMENTUM * x.std(axis=0, ddof=1)
    return update(x, running_mean, running_var)[0], new


def added(x, running_mean, running_var):
    """The old value keeps its full weight: it must be multiplied by 1 - MOMENTUM."""
    return running_mean + MOMENTUM * x.mean(axis=0), running_var + MOMENTUM * x.var(axis=0, ddof=1)


def rows(x, running_mean, running_var):
    """The statistics are taken over all entries; each feature has its own, over axis 0."""
    mean, var = x.mean(), x.var(ddof=1)
    return (1 - MOMENTUM) * running_mean + MOMENTUM * mean, (1 - MOMENTUM) * running_var + MOMENTUM * var


WRONG = {
    "update": {
        other_way_round: "momentum",
        biased: "running-variance",
        deviation: "wrong-power",
        added: "old-value-kept",
        rows: "wrong-axis",
    },
}
