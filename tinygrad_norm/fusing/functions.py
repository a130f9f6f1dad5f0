"""The functions that kernels call. Exponentials are written so that compilers can vectorize them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

# For each dtype: terms of the series of exp, bits of the fraction, exponent bias, and where exp is 0 or infinite.
_SERIES = {"float32": 7, "float64": 13}
_FRACTION, _BIAS = {"float32": 23, "float64": 52}, {"float32": 127, "float64": 1023}
_LIMITS = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}
# log(2) in two parts. The product of the first part and an exponent is exact.
_LOG_2 = {
    "float32": (0.693145751953125, 1.428606765330187e-06),
    "float64": (0.6931471803691238, 1.9082149292705877e-10),
}


@lru_cache
def namespace(dtype: str) -> dict[str, Any]:  # noqa: PLR0915 (all share the constants of the dtype)
    """Return the values of the names that kernels of a dtype use."""
    import numba
    from numba.core import types
    from numba.extending import intrinsic as _intrinsic

    intrinsic: Any = _intrinsic
    real = np.dtype(dtype).type
    integer = np.int32 if dtype == "float32" else np.int64
    # No reassociation here: the parts of log(2) must be subtracted one after the other.
    exact: Any = numba.njit(fastmath={"contract"}, error_model="numpy", inline="never")

    def reads_bits_as(*kinds: Any) -> Any:
        """Return a function that reinterprets the bits of a number as the kind of the same width."""

        @intrinsic  # type: ignore[untyped-decorator]
        def read(typing: Any, x: Any) -> Any:
            (kind,) = (kind for kind in kinds if kind.bitwidth == x.bitwidth)

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return builder.bitcast(args[0], context.get_value_type(kind))

            return kind(x), generate

        return read

    as_float = reads_bits_as(types.float32, types.float64)
    as_integer = reads_bits_as(types.int32, types.int64)
    shift, bias = integer(_FRACTION[dtype]), integer(_BIAS[dtype])
    low, high = map(real, _LIMITS[dtype])
    log_2, rest = map(real, _LOG_2[dtype])
    one, zero, half, per_log_2 = real(1), real(0), real(0.5), real(1 / math.log(2))
    powers = tuple(real(1 / math.factorial(k)) for k in range(_SERIES[dtype], 0, -1))
    inf = real(np.inf)
    last, others = powers[0], powers[1:]

    @exact
    def power_of_two(k):  # type: ignore[no-untyped-def]  # compiled
        return as_float(integer((integer(k) + bias) << shift))

    @exact
    def reduced(x):  # type: ignore[no-untyped-def]
        """Return k and r of x = k log(2) + r, and exp(r) - 1."""
        k = np.floor(x * per_log_2 + half)
        r = x - k * log_2 - k * rest
        series = last
        for c in numba.literal_unroll(others):
            series = series * r + c
        return k, series * r

    @exact
    def exp(x):  # type: ignore[no-untyped-def]
        x = low if x < low else (high if x > high else x)
        k, more = reduced(x)
        k = k if k > low * real(2) else zero  # a NaN has no exponent
        first = np.floor(k * half)
        return (more + one) * power_of_two(first) * power_of_two(k - first)

    @exact
    def tanh(x):  # type: ignore[no-untyped-def]
        z = real(2) * abs(x)
        z = real(40) if z > real(40) else z
        k, more = reduced(z)
        k = k if k >= zero else zero
        scale = power_of_two(k)
        t = scale * more + (scale - one)
        y = t / (t + real(2))
        return -y if x < zero else y

    @exact
    def sigmoid(x):  # type: ignore[no-untyped-def]
        e = exp(-abs(x))
        return (one if x >= zero else e) / (one + e)

    @exact
    def isnan(x):  # type: ignore[no-untyped-def]
        return not abs(x) <= inf

    @exact
    def maximum(a, b):  # type: ignore[no-untyped-def]
        return a if a >= b or isnan(a) else b

    @exact
    def minimum(a, b):  # type: ignore[no-untyped-def]
        return a if a <= b or isnan(a) else b

    # Integers in the order of floating-point numbers: the maximum of integers can be vectorized.
    sign_place, all_but_sign = integer(8 * np.dtype(dtype).itemsize - 1), integer(np.iinfo(integer).max)
    lowest = integer(np.iinfo(integer).min)

    @exact
    def ordered(x):  # type: ignore[no-untyped-def]
        bits = as_integer(x)
        return integer(bits ^ ((bits >> sign_place) & all_but_sign))

    @exact
    def ordered_up(x):  # type: ignore[no-untyped-def]
        return all_but_sign if isnan(x) else ordered(x)

    @exact
    def ordered_down(x):  # type: ignore[no-untyped-def]
        return lowest if isnan(x) else ordered(x)

    @exact
    def number(bits):  # type: ignore[no-untyped-def]
        return as_float(integer(bits ^ ((bits >> sign_place) & all_but_sign)))

    @exact
    def sign(x):  # type: ignore[no-untyped-def]
        return one if x > zero else (-one if x < zero else x)

    @exact
    def isfinite(x):  # type: ignore[no-untyped-def]
        return abs(x) < inf

    @exact
    def finite(x):  # type: ignore[no-untyped-def]
        return x if abs(x) < inf else zero

    names: dict[str, Any] = {name: getattr(math, name) for name in ("expm1", "log", "log1p", "sin", "cos", "erf")}
    names |= {
        "sqrt": np.sqrt,
        "empty": np.empty,
        "float32": np.float32,
        "float64": np.float64,
        "inf": inf,
        "nan": real(np.nan),
        "one": one,
    }
    names |= {"exp": exp, "tanh": tanh, "sigmoid": sigmoid, "maximum": maximum, "minimum": minimum, "sign": sign}
    names |= {"ordered_up": ordered_up, "ordered_down": ordered_down, "number": number}
    return names | {"isfinite": isfinite, "isnan": isnan, "finite": finite}
