"""A logarithm of single precision for compiled loops, with the same rounding on every machine."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xtalsk.utils._compiled import compiled

_F = np.float32
# Polynomial of log(1 + x), Cephes (Moshier), logf.
_LOG = tuple(
    _F(c)
    for c in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
)
_LOG_ROOT, _LOG_LOW, _LOG_HIGH = _F(0.70710678), _F(-2.12194440e-4), _F(0.693359375)


@intrinsic
def bits_of_float(typing_context, x):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _float_of_bits(typing_context, x):
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@compiled
def logarithm(x):
    """Logarithm of a positive float32, within 1e-7."""
    bits = bits_of_float(x)
    power = _F((bits >> np.int32(23)) - np.int32(126))
    m = _float_of_bits((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000))
    is_small = m < _LOG_ROOT
    power = power - _F(1) if is_small else power
    m = (m + m if is_small else m) - _F(1)
    z = m * m
    y = _LOG[0]
    for k in range(1, 9):
        y = y * m + _LOG[k]
    return (m + (y * m * z + power * _LOG_LOW - _F(0.5) * z)) + power * _LOG_HIGH
