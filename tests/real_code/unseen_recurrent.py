"""Networks that use a weight more than once: recurrent ones, and tied weights."""

import numpy as np

from tests.real_code.case import Code, Wrong
from tinygrad_norm.check import inputs


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


STEP = ("time step", "steps", "sum over", " uses", "part of", "missing", "accumul", "last", "recurr")


def elman_forward(x, h0, Wx, Wh, b):
    n, t, _ = x.shape
    h = np.zeros((n, t, len(b)))
    prev = h0
    for i in range(t):
        prev = h[:, i] = np.tanh(x[:, i] @ Wx + prev @ Wh + b)
    return h, (x, h0, Wx, Wh, h)


def elman_backward(fault=""):
    def backward(dh, cache):
        x, h0, Wx, Wh, h = cache
        dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(len(Wh), dtype=Wh.dtype)
        dprev = np.zeros_like(h0)
        for i in reversed(range(x.shape[1])):
            da = (dh[:, i] + dprev) * (1 - h[:, i] ** 2)
            prev = h[:, i] if fault == "state" else h[:, i - 1] if i else h0
            dx[:, i] = da @ Wx.T
            if fault == "last":
                dWx = x[:, i].T @ da
            else:
                dWx += x[:, i].T @ da
            dWh += prev.T @ da
            db += da.sum(axis=0)
            dprev = np.zeros_like(h0) if fault == "through time" else da @ (Wh if fault == "transposed" else Wh.T)
        return dx, dprev, dWx, dWh, db

    return backward


ELMAN = Code(
    "Elman network that returns all states",
    elman_forward,
    elman_backward(),
    inputs(x="n t d", h0="n h", Wx="d h", Wh="h h", b="h"),
    (
        Wrong("Wx is overwritten at each step", elman_backward("last"), STEP, ("transpos", " sign", "batch size")),
        Wrong(
            "no gradient flows to earlier steps",
            elman_backward("through time"),
            (*STEP, "zero", "path"),
            ("transpos", " sign", "batch size"),
        ),
        Wrong("Wh is not transposed on the way back", elman_backward("transposed"), ("transpos",), (" sign", "batch")),
        Wrong(
            "the new state instead of the previous one",
            elman_backward("state"),
            ("time step", "steps", "shift", "previous", "previous state", "stale"),
            ("transpos", "sign is", "batch size"),
        ),
    ),
)


def gru_forward(x, h0, W, U, b):
    d = h0.shape[1]
    h, saved, out = h0, [], []
    for i in range(len(x)):
        a, u = x[i] @ W + b, h @ U[:, : 2 * d]
        z, r = sigmoid(a[:, :d] + u[:, :d]), sigmoid(a[:, d : 2 * d] + u[:, d:])
        cand = np.tanh(a[:, 2 * d :] + (r * h) @ U[:, 2 * d :])
        saved.append((h, z, r, cand))
        h = (1 - z) * h + z * cand
        out.append(h)
    return np.stack(out), (x, W, U, saved)


def gru_backward(fault=""):
    def backward(dout, cache):
        x, W, U, saved = cache
        d = dout.shape[2]
        dx, dW, dU, db = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), np.zeros(3 * d, dtype=W.dtype)
        dh = np.zeros_like(dout[0])
        for i in reversed(range(len(x))):
            h, z, r, cand = saved[i]
            dh = dh + dout[i]
            dc = dh * z * (1 - cand**2)
            drh = dc @ U[:, 2 * d :].T
            dz = dh * (cand if fault == "update" else cand - h) * z * (1 - z)
            dr = drh * h * r * (1 - r)
            da = np.concatenate([dz, dr, dc], axis=1)
            dx[i] = da @ W.T
            dW += x[i].T @ da
            dU += np.concatenate([h.T @ dz, h.T @ dr, (h if fault == "reset" else r * h).T @ dc], axis=1)
            db += da.sum(axis=0)
            carried = 0 if fault == "carried" else drh * r
            dh = dh * (1 - z) + carried + dz @ U[:, :d].T + dr @ U[:, d : 2 * d].T
        return {"dx": dx, "dh0": dh, "dW": dW, "dU": dU, "db": db}

    return backward


GRU = Code(
    "GRU over time",
    gru_forward,
    gru_backward(),
    inputs(x="t n d", h0="n h", W="d 3h", U="h 3h", b="3h"),
    (
        Wrong(
            "the reset gate is missing in the candidate's weight", gru_backward("reset"), (), ("transpos", "sign is")
        ),
        Wrong(
            "the candidate passes nothing to the previous state",
            gru_backward("carried"),
            (*STEP, "path"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong(
            "the update gate's gradient forgets the old state", gru_backward("update"), (), ("transpos", "batch size")
        ),
    ),
)


class LSTM:
    """All states of a sequence, with the parameters and gradients in dicts."""

    def __init__(self, d, h):
        rng = np.random.default_rng(0)
        self.h = h
        self.params = {
            "Wx": 0.5 * rng.normal(size=(d, 4 * h)),
            "Wh": 0.5 * rng.normal(size=(h, 4 * h)),
            "b": 0.1 * rng.normal(size=4 * h),
        }
        self.grads = {}

    def forward(self, x):
        n, t, _ = x.shape
        h = c = np.zeros((n, self.h))
        self.x, self.steps, out = x, [], []
        for i in range(t):
            a = x[:, i] @ self.params["Wx"] + h @ self.params["Wh"] + self.params["b"]
            f, k, o = (sigmoid(part) for part in np.split(a[:, : 3 * self.h], 3, axis=1))
            u = np.tanh(a[:, 3 * self.h :])
            new = f * c + k * u
            self.steps.append((h, c, f, k, o, u, new))
            c, h = new, o * np.tanh(new)
            out.append(h)
        return np.stack(out, axis=1)

    def cell_gradient(self, dh, dc, o, c):
        return dc + dh * o * (1 - np.tanh(c) ** 2)

    def carried(self, dc, f):
        return dc * f

    def backward(self, dout):
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        dx = np.zeros_like(self.x)
        dh = dc = 0
        for i in reversed(range(len(self.steps))):
            h, c, f, k, o, u, new = self.steps[i]
            dh = dh + dout[:, i]
            dc = self.cell_gradient(dh, dc, o, new)
            gates = dc * c * f * (1 - f), dc * u * k * (1 - k), dh * np.tanh(new) * o * (1 - o), dc * k * (1 - u**2)
            da = np.concatenate(gates, axis=1)
            dx[:, i] = da @ self.params["Wx"].T
            self.grads["Wx"] += self.x[:, i].T @ da
            self.grads["Wh"] += h.T @ da
            self.grads["b"] += da.sum(axis=0)
            dh, dc = da @ self.params["Wh"].T, self.carried(dc, f)
        return dx


class LSTMForgetsForget(LSTM):
    def carried(self, dc, f):
        return dc


class LSTMCellOnlyOfOutput(LSTM):
    def cell_gradient(self, dh, dc, o, c):
        return dh * o * (1 - np.tanh(c) ** 2)


class LSTMWithoutInnerTanh(LSTM):
    def cell_gradient(self, dh, dc, o, c):
        return dc + dh * o


LSTM_CASE = Code(
    "LSTM over time",
    LSTM(3, 2),
    None,
    inputs(x="n t 3"),
    (
        Wrong("the carried cell gradient is not gated", LSTMForgetsForget(3, 2), (), ("transpos", "sign is", "batch")),
        Wrong(
            "the cell gradient of later steps is dropped",
            LSTMCellOnlyOfOutput(3, 2),
            (*STEP, "path"),
            ("transpos", "sign is", "batch size"),
        ),
        Wrong("the derivative of tanh is missing", LSTMWithoutInnerTanh(3, 2), (), ("transpos", "batch size")),
    ),
)


def bidirectional(x, w, u):
    n = len(x)
    forth, back = np.zeros_like(x), np.zeros_like(x)
    for i in range(n):
        forth[i] = np.tanh(w * x[i] + (u * forth[i - 1] if i else 0))
        j = n - 1 - i
        back[j] = np.tanh(w * x[j] + (u * back[j + 1] if i else 0))
    return forth + back


def one_direction_backward(g, x, w, u):
    h = np.zeros_like(x)
    for i in range(len(x)):
        h[i] = np.tanh(w * x[i] + (u * h[i - 1] if i else 0))
    dx, dw, du, carried = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u), 0
    for i in reversed(range(len(x))):
        da = (g[i] + carried) * (1 - h[i] ** 2)
        dx[i], carried = da * w, da * u
        dw += da * x[i]
        if i:
            du += da * h[i - 1]
    return dx, dw, du


def bidirectional_backward(fault=""):
    def backward(g, x, w, u):
        forth = one_direction_backward(g, x, w, u)
        back = one_direction_backward(g if fault == "g" else g[::-1], x[::-1], w, u)
        dx = forth[0] + (back[0] if fault == "dx" else back[0][::-1])
        if fault == "one":
            return dx, forth[1], forth[2]
        return dx, forth[1] + back[1], forth[2] + back[2]

    return backward


BIDIRECTIONAL = Code(
    "bidirectional recurrence, summed",
    bidirectional,
    bidirectional_backward(),
    inputs(x="t c", w="c", u="c"),
    (
        Wrong(
            "the reversed direction's gradient is not flipped back",
            bidirectional_backward("dx"),
            ("flip", "revers", "order"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong(
            "the incoming gradient is not reversed",
            bidirectional_backward("g"),
            ("flip", "revers", "order"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong(
            "the shared weights count for one direction only",
            bidirectional_backward("one"),
            (" uses", "missing", "part of", "one of", "direction"),
            ("transpos", "batch", "sign is"),
        ),
    ),
)


def tied(tokens, E, b):
    hidden = np.tanh(E[tokens].mean(axis=1))
    return hidden @ E.T + b, (tokens, E, hidden)


def tied_backward(fault=""):
    def backward(dout, cache):
        tokens, E, hidden = cache
        dmean = (dout @ E) * (1 - hidden**2) / (1 if fault == "mean" else tokens.shape[1])
        looked_up = np.zeros_like(E)
        if fault == "repeated":
            looked_up[tokens] += dmean[:, None, :]
        else:
            np.add.at(looked_up, tokens, np.broadcast_to(dmean[:, None, :], (*tokens.shape, E.shape[1])))
        dE = looked_up if fault == "in" else dout.T @ hidden if fault == "out" else looked_up + dout.T @ hidden
        return None, dE, dout.sum(axis=0)

    return backward


TIED = Code(
    "embedding tied to the output layer",
    tied,
    tied_backward(),
    inputs(tokens="n t", E="v d", b="v", domains={"tokens": "labels:v"}),
    (
        Wrong(
            "only the output layer's use counts",
            tied_backward("out"),
            (" uses", "missing", "part of", "one of", "repeated"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong(
            "only the lookup's use counts",
            tied_backward("in"),
            (" uses", "missing", "part of", "one of"),
            ("transpos", "batch", "sign is"),
        ),
        Wrong(
            "a token that is repeated counts once",
            tied_backward("repeated"),
            ("repeat", "duplicate", "more than once", "add.at", "twice", "same index"),
            ("transpos", "batch", "sign is"),
        ),
    ),
)

CASES = (ELMAN, GRU, LSTM_CASE, BIDIRECTIONAL, TIED)
