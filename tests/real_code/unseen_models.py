"""Classic models: regressions, factorizations, word vectors, kernels, mixtures."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


BATCH = ("batch size", "number of samples", "size of n", "length of n", "number of rows", "axis 0", "size of m")
SIGN = ("sign", "-1 times", "negat", "minus")
ONE_USE = (" uses", "missing", "one of", "part of", "path")


def logistic(fault=""):
    def cost_and_grad(w, b, X, y, lam=1.0):
        m = len(y)
        z = X @ w + b
        cost = (np.logaddexp(0, z) - y * z).mean() + lam / (2 * m) * w @ w
        error = (sigmoid(z) - y) / (1 if fault == "mean" else m)
        penalty = {"sign": -lam * w / m, "scale": lam * w, "none": 0 * w}.get(fault, lam * w / m)
        dw, db = X.T @ error + penalty, error.sum()
        return cost, dw, db + lam * b / m if fault == "bias" else db

    return cost_and_grad


LOGISTIC = Code(
    "logistic regression with a penalty",
    logistic(),
    None,
    inputs(w="d", b="", X="m d", y="m", domains={"y": "mask"}),
    (
        Wrong("the penalty has the wrong sign", logistic("sign"), (*SIGN, "penalty", "multiple of"), ("transpos",)),
        Wrong(
            "the penalty is not divided by m",
            logistic("scale"),
            ("penalty", "multiple of", "proportional", "times w", *BATCH),
            ("transpos", "sign is", "mask"),
        ),
        Wrong(
            "the bias is penalized as well",
            logistic("bias"),
            ("penalty", "multiple of", "proportional", "times b", "regulari"),
            ("transpos", "sign is", "mask"),
        ),
        Wrong("not divided by the number of samples", logistic("mean"), BATCH, ("transpos", "sign is", "mask")),
    ),
    {"lam": 3.0, "wrt": ("w", "b")},
)


class LinearRegression:
    """Mean squared error; params and grads are lists."""

    def __init__(self, d):
        self.params = [np.linspace(-1, 1, d), np.array(0.5)]
        self.grads = [np.zeros(d), np.array(0.0)]

    def forward(self, X, y):
        w, b = self.params
        self.X, self.error = X, X @ w + b - y
        return (self.error**2).mean()

    def backward(self, dout=1.0):
        d = self.slope(dout)
        self.grads = [self.X.T @ d, d.sum()]
        return np.outer(d, self.params[0]), -d

    def slope(self, dout):
        return dout * 2 * self.error / len(self.error)


class LinearRegressionHalf(LinearRegression):
    def slope(self, dout):
        return dout * self.error / len(self.error)


class LinearRegressionSum(LinearRegression):
    def slope(self, dout):
        return dout * 2 * self.error


class LinearRegressionBiasMean(LinearRegression):
    def backward(self, dout=1.0):
        dx = super().backward(dout)
        self.grads[1] = self.grads[1] / len(self.error)
        return dx


LINEAR_REGRESSION = Code(
    "linear regression",
    LinearRegression(3),
    None,
    inputs(X="n 3", y="n"),
    (
        Wrong(
            "the factor 2 is missing",
            LinearRegressionHalf(3),
            ("factor", "times", "half", "0.5"),
            ("transpos", " sign", "batch size", "mask"),
        ),
        Wrong("not divided by the number of samples", LinearRegressionSum(3), BATCH, ("transpos", " sign", "mask")),
        Wrong(
            "the bias's gradient is averaged once more",
            LinearRegressionBiasMean(3),
            (*BATCH, "the mean", "a mean", "mean of", "mean path", "mean term"),
            ("transpos", " sign", "mask"),
        ),
    ),
)


def factorization(fault=""):
    def loss_and_grads(U, V, R, seen, lam=0.1):
        E = seen * (U @ V.T - R)
        loss = 0.5 * (E**2).sum() + 0.5 * lam * ((U**2).sum() + (V**2).sum())
        if fault == "mask":
            E = U @ V.T - R
        if fault == "sign":
            E = -E
        dU, dV = E @ V + lam * U, E.T @ U + (0 if fault == "penalty" else lam * V)
        return loss, {"U": dU, "V": dV}

    return loss_and_grads


FACTORIZATION = Code(
    "matrix factorization of the entries that were seen",
    factorization(),
    None,
    inputs(U="n k", V="m k", R="n m", seen="n m", domains={"seen": "mask"}),
    (
        Wrong("the mask is missing", factorization("mask"), ("mask", "seen"), ("transpos", "batch", "sign is")),
        Wrong(
            "the penalty of V is missing",
            factorization("penalty"),
            ("penalty", "multiple of", "proportional", "times v", "regulari", "missing"),
            ("transpos", "batch", "sign is", "mask"),
        ),
        Wrong(
            "the error's sign is wrong, the penalty's right",
            factorization("sign"),
            ("sign", "negat", "minus", "missing", "multiple of"),
            ("transpos", "batch", "mask"),
        ),
    ),
    {"lam": 0.5, "wrt": ("U", "V")},
)


def skip_gram(fault=""):
    def loss_and_grads(centre, outside, target, negative):
        u, k = outside[target], outside[negative]
        loss = np.logaddexp(0, -u @ centre) + np.logaddexp(0, k @ centre).sum()
        du, dk = sigmoid(u @ centre) - 1, sigmoid(k @ centre)
        if fault == "sign":
            dk = -dk
        dcentre = du * u + (0 if fault == "negatives" else dk @ k)
        doutside = np.zeros_like(outside)
        if fault == "repeated":
            doutside[negative] += dk[:, None] * centre
            doutside[target] += du * centre
        elif fault == "order":
            np.add.at(doutside, negative, dk[:, None] * centre)
            doutside[target] = du * centre
        else:
            np.add.at(doutside, negative, dk[:, None] * centre)
            doutside[target] += du * centre
        return loss, (dcentre, doutside)

    return loss_and_grads


SKIP_GRAM = Code(
    "word2vec with negative sampling",
    skip_gram(),
    None,
    inputs(centre="d", outside="v d", target="", negative="k", domains=("real", "real", "labels:v", "labels:v")),
    (
        Wrong(
            "a word that is drawn twice counts once",
            skip_gram("repeated"),
            ("repeat", "duplicate", "more than once", "add.at", "twice", "same index"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong("the negative words are missing for the centre", skip_gram("negatives"), ONE_USE, ("transpos", "batch")),
        Wrong("the negative words have the wrong sign", skip_gram("sign"), SIGN, ("transpos", "batch", "mask")),
        Wrong(
            "the target's row is overwritten when it is among the negative words",
            skip_gram("order"),
            ("repeat", "duplicate", "more than once", "add.at", "overwrit", "same index", "missing", "row"),
            ("transpos", "batch", "sign is"),
        ),
    ),
)


def rbf(X, Y, gamma=1.0):
    d2 = ((X[:, None, :] - Y[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-gamma * d2)


def rbf_backward(fault=""):
    def backward(g, X, Y, gamma=1.0):
        d = g * (1 if fault == "kernel" else rbf(X, Y, gamma))
        D = -2 * gamma * d[:, :, None] * (X[:, None, :] - Y[None, :, :])
        if fault == "factor":
            D = D / 2
        dX, dY = D.sum(axis=1), D.sum(axis=0)
        return dX, dY if fault == "sign" else -dY

    return backward


RBF = Code(
    "matrix of Gaussian kernels",
    rbf,
    rbf_backward(),
    inputs(X="n d", Y="m d"),
    (
        Wrong("the second gradient has the wrong sign", rbf_backward("sign"), SIGN, ("transpos", "batch", "mask")),
        Wrong("the kernel itself is missing", rbf_backward("kernel"), (), ("transpos", "batch", "sign is")),
        Wrong(
            "the factor 2 is missing",
            rbf_backward("factor"),
            ("factor", "times", "half", "0.5"),
            ("transpos", "sign is", "batch size", "mask"),
        ),
    ),
    {"gamma": 0.05},
)


def mixture(x, mean, log_weight):
    s = log_weight - 0.5 * ((x[:, None, :] - mean) ** 2).sum(axis=2)
    s = s - np.log(np.exp(log_weight - log_weight.max()).sum()) - log_weight.max()
    top = s.max(axis=1)
    return top + np.log(np.exp(s - top[:, None]).sum(axis=1))


def mixture_backward(fault=""):
    def backward(g, x, mean, log_weight):
        s = log_weight - 0.5 * ((x[:, None, :] - mean) ** 2).sum(axis=2)
        r = np.exp(s - s.max(axis=1, keepdims=True))
        r /= r.sum(axis=0 if fault == "axis" else 1, keepdims=True)
        share = np.exp(log_weight - log_weight.max())
        share /= share.sum()
        pull = (g[:, None] * r)[..., None] * (mean - x[:, None, :])
        dweight = (g[:, None] * (r if fault == "normalizer" else r - share)).sum(axis=0)
        return pull.sum(axis=1), pull.sum(axis=0) if fault == "sign" else -pull.sum(axis=0), dweight

    return backward


MIXTURE = Code(
    "log-likelihood of a mixture of Gaussians",
    mixture,
    mixture_backward(),
    inputs(x="n d", mean="k d", log_weight="k"),
    (
        Wrong(
            "responsibilities are normalized over the samples",
            mixture_backward("axis"),
            ("axis", "axes", "normali"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong("the means' gradient has the wrong sign", mixture_backward("sign"), SIGN, ("transpos", "batch", "mask")),
        Wrong(
            "the weights' normalizer is left out",
            mixture_backward("normalizer"),
            (
                "missing",
                "normali",
                "constant",
                "softmax",
                "centr",
                "the mean",
                "a mean",
                "mean of",
                "mean path",
                "mean term",
            ),
            ("transpos", "sign is", "batch size"),
        ),
    ),
)


def gated(x, Wh, Wt, b):
    return sigmoid(x @ Wt + b) * np.tanh(x @ Wh) + (1 - sigmoid(x @ Wt + b)) * x


def gated_backward(fault=""):
    def backward(g, x, Wh, Wt, b):
        t, h = sigmoid(x @ Wt + b), np.tanh(x @ Wh)
        da = g * t * (1 - h**2)
        ds = g * (h if fault == "gate" else h - x) * t * (1 - t)
        dx = da @ Wh.T + ds @ Wt.T + (0 if fault == "carry" else g * (1 - t))
        if fault == "transposed":
            dx = da @ Wh + ds @ Wt + g * (1 - t)
        return dx, x.T @ da, x.T @ ds, ds if fault == "bias" else ds.sum(axis=0)

    return backward


HIGHWAY = Code(
    "highway layer",
    gated,
    gated_backward(),
    inputs(x="n d", Wh="d d", Wt="d d", b="d"),
    (
        Wrong(
            "the input that is carried along gets nothing",
            gated_backward("carry"),
            (*ONE_USE, "residual", "carr", "skip", "identity"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong("the weights are not transposed", gated_backward("transposed"), ("transpos",), ("batch", " sign")),
        Wrong(
            "the bias's gradient is not summed",
            gated_backward("bias"),
            ("sum", "shape", "broadcast", "reduc", "axis 0"),
            ("transpos", " sign", "mask"),
        ),
        Wrong("the gate's gradient forgets the carried input", gated_backward("gate"), (), ("transpos", "batch")),
    ),
)

CASES = (LOGISTIC, LINEAR_REGRESSION, FACTORIZATION, SKIP_GRAM, RBF, MIXTURE, HIGHWAY)
