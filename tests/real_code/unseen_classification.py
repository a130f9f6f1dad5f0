"""Losses with labels, masks and class weights."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    z = x - x.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def smoothed(fault=""):
    def loss_and_grad(logits, y, alpha=0.1):
        n, c = logits.shape
        hot = np.eye(c)[y]
        target = (1 - alpha) * hot + alpha / c
        loss = -(target * log_softmax(logits)).sum() / n
        d = softmax(logits) - (hot if fault == "hot" else target)
        return loss, -d / n if fault == "sign" else d if fault == "batch" else d / n

    return loss_and_grad


SMOOTHED = Code(
    "cross-entropy with label smoothing",
    smoothed(),
    None,
    inputs(logits="n c", y="n", domains=("real", "labels:c")),
    (
        Wrong(
            "the gradient of hard labels",
            smoothed("hot"),
            ("smooth", "label", "target", "constant"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong(
            "not divided by the batch",
            smoothed("batch"),
            ("batch size", "number of samples", "size of n", "length of n", "number of rows", "axis 0"),
            ("transpos", " sign", "mask"),
        ),
        Wrong(
            "target minus probability",
            smoothed("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "mask", "batch size"),
        ),
    ),
    {"alpha": 0.2},
)


def weighted(fault=""):
    def loss_and_grad(logits, weight, y):
        rows, w = np.arange(len(y)), weight[y]
        loss = -(w * log_softmax(logits)[rows, y]).sum() / w.sum()
        d = softmax(logits)
        d[rows, y] -= 1
        d = {"": d * w[:, None], "columns": d * weight, "none": d, "count": d * w[:, None]}[fault]
        return loss, d / (len(y) if fault == "count" else w.sum())

    return loss_and_grad


WEIGHTED = Code(
    "cross-entropy with class weights",
    weighted(),
    None,
    inputs(logits="n c", weight="c", y="n", domains=("real", "positive", "labels:c")),
    (
        Wrong(
            "the weights are applied to the columns, not to the labels' rows",
            weighted("columns"),
            ("row", "column", "axis", "label", "weight", "sample"),
            ("transpos", "sign is", "mask"),
        ),
        Wrong(
            "the weights are left out",
            weighted("none"),
            ("weight", "factor", "row", "sample"),
            ("transpos", "sign is", "mask"),
        ),
        Wrong(
            "divided by the number of samples, not by the sum of their weights",
            weighted("count"),
            ("factor", "times", "number of samples", "batch size", "sum of", "weight"),
            ("transpos", "sign is", "mask", "variance"),
        ),
    ),
    {"wrt": "logits"},
)


def multi_margin(scores, y, margin=1.0):
    rows = np.arange(len(y))
    violation = np.maximum(0, margin + scores - scores[rows, y][:, None])
    violation[rows, y] = 0
    return violation.sum() / len(y), (scores, y, margin)


def multi_margin_backward(fault=""):
    def backward(dout, cache):
        scores, y, margin = cache
        rows = np.arange(len(y))
        active = (margin + scores - scores[rows, y][:, None] > 0).astype(float)
        active[rows, y] = 0
        d = active.copy()
        if fault == "all":
            d = np.ones_like(active)
            d[rows, y] = 0
        d[rows, y] = 0 if fault == "own" else -1 if fault == "once" else -d.sum(axis=1)
        return dout * d / len(y)

    return backward


MULTI_MARGIN = Code(
    "multi-class margin loss",
    multi_margin,
    multi_margin_backward(),
    inputs(scores="n c", y="n", domains=("real", "labels:c")),
    (
        Wrong(
            "the right class counts once, not once for each violation",
            multi_margin_backward("once"),
            ("label", "class", "count", "sum is missing", "not summed", "some entries", "one entry"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong(
            "the right class gets nothing",
            multi_margin_backward("own"),
            ("missing", "zero", "label", "class"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong(
            "classes within the margin count as well",
            multi_margin_backward("all"),
            ("mask", "margin", "where x", "elsewhere", "zero", "active"),
            ("transpos", "batch size", "sign is"),
        ),
    ),
)


def sequence_loss(fault=""):
    def loss_and_grad(logits, y, mask):
        n, t = y.shape
        total = max(mask.sum(), 1)
        picked = np.take_along_axis(log_softmax(logits), y[..., None], axis=-1)[..., 0]
        loss = -(picked * mask).sum() / total
        d = softmax(logits)
        d[np.arange(n)[:, None], np.arange(t), y] -= 1
        if fault != "mask":
            d *= mask[:, :, None]
        return loss, d / {"steps": t, "all": n * t}.get(fault, total)

    return loss_and_grad


SEQUENCE = Code(
    "masked mean of a sequence's cross-entropy",
    sequence_loss(),
    None,
    inputs(logits="n t k", y="n t", mask="n t", domains=("real", "labels:k", "mask")),
    (
        Wrong(
            "the padded steps get a gradient",
            sequence_loss("mask"),
            ("mask", "padd"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong(
            "divided by all steps, not by those that count",
            sequence_loss("all"),
            ("factor", "times", "number of", "size"),
            ("transpos", "sign is", "variance"),
        ),
        Wrong(
            "divided by the length of the sequence only",
            sequence_loss("steps"),
            ("factor", "times", "number of", "size"),
            ("transpos", "sign is", "variance"),
        ),
    ),
)


def perplexity(logits, y):
    return np.exp(-log_softmax(logits)[np.arange(len(y)), y].mean())


def perplexity_backward(fault=""):
    def backward(g, logits, y):
        d = softmax(logits)
        d[np.arange(len(y)), y] -= 1
        return g * d / len(y) * (1 if fault == "chain" else -1 if fault == "sign" else perplexity(logits, y))

    return backward


PERPLEXITY = Code(
    "perplexity",
    perplexity,
    perplexity_backward(),
    inputs(logits="n k", y="n", domains=("real", "labels:k")),
    (
        Wrong(
            "the outer exponential is missing",
            perplexity_backward("chain"),
            ("factor", "times", "output", "chain"),
            ("transpos", "batch size", "sign is", "mask"),
        ),
        Wrong(
            "and the sign as well",
            perplexity_backward("sign"),
            ("sign", "factor", "times", "negat"),
            ("transpos", "batch size", "mask"),
        ),
    ),
)


def entropy(logits):
    return -(softmax(logits) * log_softmax(logits)).sum(axis=-1)


def entropy_backward(fault=""):
    def backward(g, logits):
        p, logp = softmax(logits), log_softmax(logits)
        if fault == "elementwise":
            return -g[:, None] * (logp + 1) * p * (1 - p)
        if fault == "probabilities":
            return -g[:, None] * (logp + 1)
        if fault == "centre":
            return -g[:, None] * p * logp
        return -g[:, None] * p * (logp + entropy(logits)[:, None])

    return backward


ENTROPY = Code(
    "entropy of a softmax",
    entropy,
    entropy_backward(),
    inputs(logits="n k"),
    (
        Wrong(
            "softmax is differentiated element by element",
            entropy_backward("elementwise"),
            ("diagonal", "elementwise", "element by element", "mixes", "jacobian"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong(
            "the gradient of the probabilities is returned",
            entropy_backward("probabilities"),
            (),
            ("transpos", "batch size"),
        ),
        Wrong(
            "the sum over the row is missing",
            entropy_backward("centre"),
            (
                "missing",
                "sum over",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
                "row",
                "centr",
                "center",
                "multiple of",
            ),
            ("transpos", "batch size", "sign is"),
        ),
    ),
)


def dice(fault=""):
    def loss_and_grad(p, mask):
        both, total = (p * mask).sum(), p.sum() + mask.sum()
        loss = 1 - (2 * both + 1) / (total + 1)
        d = (2 * both + 1) / (total + 1) ** 2 - 2 * mask / (total + 1)
        if fault == "constant":
            d = -2 * mask / (total + 1)
        if fault == "square":
            d = (2 * both + 1) / (total + 1) - 2 * mask / (total + 1)
        if fault == "smooth":
            d = 2 * both / total**2 - 2 * mask / total
        return loss, d

    return loss_and_grad


DICE = Code(
    "Dice loss",
    dice(),
    None,
    inputs(p="h w", mask="h w", domains=("positive", "mask")),
    (
        Wrong(
            "the denominator is a constant",
            dice("constant"),
            ("denominator", "constant", "missing", "mask"),
            ("transpos", "batch size", "sign is"),
        ),
        Wrong("the denominator is not squared", dice("square"), (), ("transpos", "batch size", "sign is")),
        Wrong(
            "the smoothing is forgotten",
            dice("smooth"),
            ("smooth", "epsilon", " eps", "constant"),
            ("transpos", "batch"),
        ),
    ),
)


def iou(p, t):
    both = (p * t).sum(axis=(1, 2))
    return 1 - both / (p.sum(axis=(1, 2)) + t.sum(axis=(1, 2)) - both)


def iou_backward(fault=""):
    def backward(g, p, t):
        both = (p * t).sum(axis=(1, 2))
        union = p.sum(axis=(1, 2)) + t.sum(axis=(1, 2)) - both
        g, both, union = (a[:, None, None] for a in (g, both, union))
        of_union = 1 if fault == "union" else 1 - t
        d = -g * (t * union - both * of_union) / union**2
        if fault == "batch":
            return d / len(p)
        return -d if fault == "sign" else d

    return backward


IOU = Code(
    "soft intersection over union",
    iou,
    iou_backward(),
    inputs(p="n h w", t="n h w", domains=("positive", "mask")),
    (
        Wrong(
            "the union's derivative forgets the overlap", iou_backward("union"), (), ("transpos", "batch", "sign is")
        ),
        Wrong(
            "divided by the batch",
            iou_backward("batch"),
            ("batch size", "number of samples", "size of n", "length of n", "axis 0"),
            ("transpos", " sign", "mask"),
        ),
        Wrong(
            "the gradient of the score, not of the loss",
            iou_backward("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "mask", "batch size"),
        ),
    ),
)

CASES = (SMOOTHED, WEIGHTED, MULTI_MARGIN, SEQUENCE, PERPLEXITY, ENTROPY, DICE, IOU)
