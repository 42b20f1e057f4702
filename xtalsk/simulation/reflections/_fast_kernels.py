"""Compilation for speed, and an exponential function that runs in the vector units of a processor.

After a change of this file, touch the files ``*_kernels.py`` that import it: numba does not notice it.
"""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xtalsk.utils._compiled import ANY_ORDER, compiled_any_order

_LOG2_E = 1.4426950408889634
_LN_2_HIGH, _LN_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOWEST = -708.0  # the exponential of smaller numbers is about 0


def fast(function):
    """Compile ``function`` as `compiled_any_order` does; divisions may become products with the inverse."""
    return compiled_any_order(function, ANY_ORDER | {"arcp"})


@intrinsic
def _float_of_bits(typing_context, bits):
    """Return the float64 with the bits of an int64."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@fast
def exponential(x):
    """Return exp(x) for x from -708 to 700, right to 1e-15; about 0 below.

    Unlike `math.exp` it can be computed for several numbers at once, and is then ten times faster.
    """
    x = max(x, _LOWEST)
    n = math.floor(x * _LOG2_E + 0.5)
    r = (x - n * _LN_2_HIGH) - n * _LN_2_LOW
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    p = p * r + 1
    p = p * r + 1
    return p * _float_of_bits((n + 1023) << 52)
