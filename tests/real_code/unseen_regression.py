"""Losses of regression and of distributions, many as one function that returns value and gradient."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def log_cosh(fault=""):
    def loss_and_grad(pred, target):
        e = pred - target
        loss = np.mean(np.logaddexp(e, -e) - np.log(2))
        slope = 1 - np.tanh(e) ** 2 if fault == "second derivative" else np.tanh(e)
        slope = slope / (len(e) if fault == "rows" else e.size)
        return loss, (slope, slope if fault == "sign" else -slope)

    return loss_and_grad


LOG_COSH = Code(
    "log-cosh loss",
    log_cosh(),
    None,
    inputs(pred="n c", target="n c"),
    (
        Wrong(
            "divided by the number of rows, not of elements",
            log_cosh("rows"),
            ("factor", "times", "size of c", "number of", "columns", "length of c", "axis", "size"),
            ("transpos", " sign", "mask"),
        ),
        Wrong(
            "the target's gradient has the sign of the prediction's",
            log_cosh("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "batch size", "mask"),
        ),
        Wrong("the derivative of tanh in its place", log_cosh("second derivative"), (), ("transpos", "batch size")),
    ),
)


def smooth_l1(pred, target, beta=1.0):
    e = np.abs(pred - target)
    return np.where(e < beta, 0.5 * e**2 / beta, e - 0.5 * beta).mean()


def smooth_l1_backward(fault=""):
    def backward(g, pred, target, beta=1.0):
        e = pred - target
        quadratic = e if fault == "beta" else e / beta
        linear = np.ones_like(e) if fault == "sign" else np.sign(e)
        d = g * np.where(np.abs(e) < beta, quadratic, linear) / (1 if fault == "mean" else e.size)
        return {"pred": d, "target": -d}

    return backward


SMOOTH_L1 = Code(
    "smooth L1 loss",
    smooth_l1,
    smooth_l1_backward(),
    inputs(pred="n c", target="n c"),
    (
        Wrong(
            "the mean is forgotten",
            smooth_l1_backward("mean"),
            ("size", "number of", "factor", "times", "the mean", "a mean", "mean of", "mean path", "mean term"),
            ("transpos", " sign", "mask"),
        ),
        Wrong("beta is missing in the quadratic part", smooth_l1_backward("beta"), (), ("transpos", "batch size")),
        Wrong(
            "the sign is missing in the linear part",
            smooth_l1_backward("sign"),
            ("sign", "absolute"),
            ("transpos", "batch size", "the mean"),
        ),
    ),
    {"beta": 2.0},
)


def pinball(y, q_hat, tau=0.5):
    e = y - q_hat
    return np.maximum(tau * e, (tau - 1) * e).sum() / len(y)


def pinball_backward(g, y, q_hat, tau=0.5):
    d = g * np.where(y > q_hat, tau, tau - 1) / len(y)
    return d, -d


def pinball_swapped(g, y, q_hat, tau=0.5):
    d = g * np.where(y > q_hat, 1 - tau, -tau) / len(y)
    return d, -d


def pinball_one_side(g, y, q_hat, tau=0.5):
    d = g * np.where(y > q_hat, tau, 0) / len(y)
    return d, -d


PINBALL = Code(
    "quantile loss",
    pinball,
    pinball_backward,
    inputs(y="n", q_hat="n"),
    (
        Wrong(
            "tau and 1 - tau are swapped", pinball_swapped, (), ("transpos", "batch size", "mean path", "eps", "mask")
        ),
        Wrong(
            "the derivative with respect to the error, given to both",
            lambda g, y, q_hat, tau=0.5: (pinball_backward(g, y, q_hat, tau)[0],) * 2,
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "batch size", "mask"),
        ),
        Wrong(
            "overestimates cost nothing",
            pinball_one_side,
            ("mask", "where x", "elsewhere", "zero", "missing", "sign of", "branch", "part"),
            ("transpos", "batch size"),
        ),
    ),
    {"tau": 0.9},
)


def poisson(fault=""):
    def loss_and_grad(log_rate, count):
        rate = np.exp(log_rate)
        loss = (rate - count * log_rate).mean()
        d = {"input": 1 - count / rate, "ratio": rate, "sum": rate - count, "": rate - count}[fault]
        return loss, d / (1 if fault == "sum" else d.size)

    return loss_and_grad


POISSON = Code(
    "Poisson negative log-likelihood of log rates",
    poisson(),
    None,
    inputs(log_rate="n c", count="n c", domains=("real", "integers")),
    (
        Wrong(
            "the derivative with respect to the rate, not to its logarithm",
            poisson("input"),
            (),
            ("transpos", "batch size", "mean path"),
        ),
        Wrong(
            "the counts are left out", poisson("ratio"), ("missing", "count", "constant"), ("transpos", "batch size")
        ),
        Wrong(
            "the mean is forgotten",
            poisson("sum"),
            ("size", "number of", "factor", "times", "the mean", "a mean", "mean of", "mean path", "mean term"),
            ("transpos", " sign", "mask"),
        ),
    ),
)


def gaussian_nll(mean, var, target):
    return 0.5 * (np.log(var) + (target - mean) ** 2 / var).sum(axis=1).mean()


def gaussian_nll_backward(fault=""):
    def backward(g, mean, var, target):
        n, e = len(mean), target - mean
        dmean = -g * e / var / n
        dvar = g * 0.5 * (1 / var - e**2 / var**2) / n
        if fault == "sigma":
            dvar = g * (1 / var - e**2 / var**3) / n
        if fault == "log":
            dvar = -g * 0.5 * e**2 / var**2 / n
        if fault == "order":
            return dvar, dmean, -dmean
        return dmean, dvar, -dmean

    return backward


GAUSSIAN_NLL = Code(
    "Gaussian negative log-likelihood",
    gaussian_nll,
    gaussian_nll_backward(),
    inputs(mean="n c", var="n c", target="n c", domains={"var": "positive"}),
    (
        Wrong(
            "the variance is differentiated as if it were the deviation",
            gaussian_nll_backward("sigma"),
            (),
            ("transpos", "batch size", "sign is", "mean path", "wrong axis"),
        ),
        Wrong(
            "the term of the logarithm is missing", gaussian_nll_backward("log"), ("missing",), ("transpos", "batch")
        ),
        Wrong(
            "mean and variance come in the wrong order",
            gaussian_nll_backward("order"),
            ("swap", "order", "exchang"),
            ("transpos", "batch size"),
        ),
    ),
)


def kl_forward(mu, logvar):
    out = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).sum() / len(mu)
    return out, (mu, logvar)


def kl_backward(fault=""):
    def backward(dout, cache):
        mu, logvar = cache
        n = 1 if fault == "batch" else len(mu)
        dlogvar = dout * 0.5 * (np.exp(logvar) - 1) / n
        if fault == "half":
            dlogvar = 2 * dlogvar
        if fault == "sign":
            dlogvar = -dlogvar
        return dout * mu / n, dlogvar

    return backward


KL = Code(
    "KL divergence of a variational autoencoder",
    kl_forward,
    kl_backward(),
    inputs(mu="n z", logvar="n z"),
    (
        Wrong(
            "not divided by the batch",
            kl_backward("batch"),
            ("batch size", "number of samples", "size of n", "length of n", "number of rows", "axis 0"),
            ("transpos", " sign", "mask"),
        ),
        Wrong(
            "the half is missing for the log-variance",
            kl_backward("half"),
            ("factor", "times", "twice"),
            ("transpos", " sign", "mask", "batch size"),
        ),
        Wrong(
            "the log-variance's gradient has the wrong sign",
            kl_backward("sign"),
            ("sign", "-1 times", "negat", "minus"),
            ("transpos", "mask", "batch size"),
        ),
    ),
)


class Reparameterize:
    """A sample of a Gaussian with given noise."""

    def forward(self, mu, logvar, noise):
        self.std, self.noise = np.exp(0.5 * logvar), noise
        return mu + self.std * noise

    def backward(self, dz):
        return np.array(dz), dz * self.noise * 0.5 * self.std, dz * self.std


class ReparameterizeWithoutHalf(Reparameterize):
    def backward(self, dz):
        return np.array(dz), dz * self.noise * self.std, dz * self.std


class ReparameterizeByVariance(Reparameterize):
    def backward(self, dz):
        return np.array(dz), dz * self.noise * 0.5 * self.std**2, dz * self.std


class ReparameterizeWithoutNoise(Reparameterize):
    def backward(self, dz):
        return np.array(dz), dz * 0.5 * self.std, dz * self.std


REPARAMETERIZE = Code(
    "reparameterization with given noise",
    Reparameterize(),
    None,
    inputs(mu="n z", logvar="n z", noise="n z"),
    (
        Wrong(
            "the half is missing",
            ReparameterizeWithoutHalf(),
            ("factor", "times", "twice"),
            ("transpos", " sign", "mask", "batch size"),
        ),
        Wrong("the variance instead of the deviation", ReparameterizeByVariance(), (), ("transpos", "batch size")),
        Wrong(
            "the noise is missing",
            ReparameterizeWithoutNoise(),
            ("noise", "missing", "factor"),
            ("transpos", "batch size", "the mean"),
        ),
    ),
)

CASES = (LOG_COSH, SMOOTH_L1, PINBALL, POISSON, GAUSSIAN_NLL, KL, REPARAMETERIZE)
