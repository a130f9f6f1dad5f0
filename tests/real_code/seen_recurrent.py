"""Recurrent steps and a walk over time, cached as in courses."""

import numpy as np

from tinygrad_norm.check import inputs

from .case import Code, Wrong
from .words import CONSTANT, FACTOR, MISSING, NOT_SUMMED, ONE_USE, STATISTICS, SWAPPED, TRANSPOSED


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def _rnn_step_backward(fault=""):
    def rnn_step_backward(dnext_h, cache):
        x, prev_h, Wx, Wh, next_h = cache
        dz = dnext_h * (1 - next_h if fault == "square" else 1 - next_h**2)
        dprev_h = dz @ (Wh if fault == "transposed" else Wh.T)
        return dz @ Wx.T, dprev_h, x.T @ dz, prev_h.T @ dz, dz.copy() if fault == "sum" else dz.sum(axis=0)

    return rnn_step_backward


def rnn_forward(x, h0, Wx, Wh, b):
    h, caches, prev_h = np.zeros((*x.shape[:2], h0.shape[1])), [], h0
    for t in range(x.shape[1]):
        prev_h, cache = rnn_step_forward(x[:, t], prev_h, Wx, Wh, b)
        h[:, t] = prev_h
        caches.append(cache)
    return h, caches


def _rnn_backward(fault=""):
    def rnn_backward(dh, caches):
        step = _rnn_step_backward()
        x, h0, Wx, Wh, _ = caches[0]
        dx = np.zeros((*dh.shape[:2], x.shape[1]))
        dprev_h, dWx, dWh, db = np.zeros_like(h0), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[1])
        for t in reversed(range(len(caches))):
            if fault == "in place":
                dh[:, t] += dprev_h
                carried = dh[:, t]
            else:
                carried = dh[:, t] if fault == "carried" else dh[:, t] + dprev_h
            dx[:, t], dprev_h, dWx_t, dWh_t, db_t = step(carried, caches[t])
            dWx, db = dWx + dWx_t, db + db_t
            dWh = dWh_t if fault == "assigned" else dWh + dWh_t
        return dx, np.zeros_like(h0) if fault == "h0" else dprev_h, dWx, dWh, db

    return rnn_backward


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    a = x @ Wx + prev_h @ Wh + b
    i, f, o, g = np.split(a, 4, axis=1)
    i, f, o, g = _sigmoid(i), _sigmoid(f), _sigmoid(o), np.tanh(g)
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)


def _lstm_step_backward(fault=""):
    def lstm_step_backward(dnext_h, dnext_c, cache):
        x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
        t = np.tanh(next_c)
        dc = dnext_h * o * (1 - t**2)
        if fault != "cell":
            dc = dc + dnext_c
        di, do, dg = dc * g * i * (1 - i), dnext_h * t * o * (1 - o), dc * i * (1 - g**2)
        df = dc * prev_c * (f if fault == "forget" else f * (1 - f))
        da = np.concatenate([di, df, dg, do] if fault == "order" else [di, df, do, dg], axis=1)
        return da @ Wx.T, da @ Wh.T, dc if fault == "prev_c" else dc * f, x.T @ da, prev_h.T @ da, da.sum(axis=0)

    return lstm_step_backward


def gru_step_forward(x, prev_h, Wx, Wh):
    xz, xr, xn = np.split(x @ Wx, 3, axis=1)
    Uz, Ur, Un = np.split(Wh, 3, axis=1)
    z, r = _sigmoid(xz + prev_h @ Uz), _sigmoid(xr + prev_h @ Ur)
    n = np.tanh(xn + (r * prev_h) @ Un)
    cache = {"x": x, "h": prev_h, "Wx": Wx, "Wh": Wh, "z": z, "r": r, "n": n}
    return (1 - z) * prev_h + z * n, cache


def _gru_step_backward(fault=""):
    def gru_step_backward(dnext_h, cache):
        x, h, Wx, Wh, z, r, n = (cache[name] for name in ("x", "h", "Wx", "Wh", "z", "r", "n"))
        Uz, Ur, Un = np.split(Wh, 3, axis=1)
        dn = dnext_h * (1 - z if fault == "gates" else z) * (1 - n**2)
        dz = dnext_h * (n - h) * z * (1 - z)
        drh = dn @ Un.T
        dr = drh * h * r * (1 - r)
        dh = dnext_h * (1 - z) + dz @ Uz.T + dr @ Ur.T
        if fault != "reset":
            dh = dh + drh * r
        da = np.concatenate([dz, dr, dn], axis=1)
        dUn = (h if fault == "unreset" else r * h).T @ dn
        return {
            "x": da @ Wx.T,
            "prev_h": dh,
            "Wx": x.T @ da,
            "Wh": np.concatenate([h.T @ dz, h.T @ dr, dUn], axis=1),
        }

    return gru_step_backward


STEP = inputs(x="n d", prev_h="n h", Wx="d h", Wh="h h", b="h")
GATES = (" gate", "column", " block", "part of", "some of", " slice", " half", " quarter", " third")

CASES = (
    Code(
        "rnn step, cached",
        rnn_step_forward,
        _rnn_step_backward(),
        STEP,
        (
            Wrong("Wh is not transposed", _rnn_step_backward("transposed"), TRANSPOSED),
            Wrong(
                "tanh's square is missing", _rnn_step_backward("square"), (*FACTOR, "derivative", "tanh"), STATISTICS
            ),
            Wrong("db is not summed", _rnn_step_backward("sum"), NOT_SUMMED),
        ),
    ),
    Code(
        "rnn over time, cached",
        rnn_forward,
        _rnn_backward(),
        inputs(x="n t d", h0="n h", Wx="d h", Wh="h h", b="h", largest=3, least={"t": 2}),
        (
            Wrong("what comes from later steps is dropped", _rnn_backward("carried"), (*ONE_USE, "later", "time")),
            Wrong("dWh is assigned, not accumulated", _rnn_backward("assigned"), ONE_USE),
            Wrong("the cotangent is changed in place", _rnn_backward("in place"), ("in place", "changes")),
            Wrong("dh0 is zero", _rnn_backward("h0"), MISSING),
        ),
    ),
    Code(
        "lstm step, cached",
        lstm_step_forward,
        _lstm_step_backward(),
        inputs(x="n d", prev_h="n h", prev_c="n h", Wx="d 4h", Wh="h 4h", b="4h", largest=3),
        (
            Wrong(
                "the cell's cotangent is dropped",
                _lstm_step_backward("cell"),
                ("cotangent", "output", "next_c", "not depend on", "second"),
            ),
            Wrong(
                "the forget gate's 1 - f", _lstm_step_backward("forget"), (*GATES, *FACTOR, "derivative"), STATISTICS
            ),
            Wrong("gates in another order", _lstm_step_backward("order"), (*GATES, *SWAPPED, "permut")),
            Wrong(
                "f is missing in dprev_c", _lstm_step_backward("prev_c"), (*FACTOR, " gate", "cotangent"), STATISTICS
            ),
        ),
    ),
    Code(
        "gru step, cached",
        gru_step_forward,
        _gru_step_backward(),
        inputs(x="n d", prev_h="n h", Wx="d 3h", Wh="h 3h", largest=3),
        (
            Wrong("the path through the reset product", _gru_step_backward("reset"), (*CONSTANT, *ONE_USE)),
            Wrong("z and 1 - z are swapped", _gru_step_backward("gates"), (*GATES, *FACTOR, *SWAPPED)),
            Wrong("h for r h", _gru_step_backward("unreset"), (*GATES, *FACTOR)),
        ),
    ),
)
