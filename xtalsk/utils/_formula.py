"""From what a cell may hold to atomic fractions of the elements hydrogen to californium."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache

import numpy as np
from pymatgen.core import Composition, Element

N_ELEMENTS = 98
SYMBOLS = tuple(Element.from_Z(z).symbol for z in range(1, N_ELEMENTS + 1))
FEATURE_NAMES = tuple(symbol.lower() for symbol in SYMBOLS)

_Z = {symbol: z for z, symbol in enumerate(SYMBOLS, start=1)} | {"D": 1, "T": 1}
_OPENING = {"(": ")", "[": "]", "{": "}"}
_AMOUNT = r"(?:\d+\.?\d*|\.\d+)"
_TOKEN = re.compile(rf"(?P<symbol>[A-Z][a-z]?)|(?P<bracket>[()\[\]{{}}])|(?P<amount>{_AMOUNT})")
_HYDRATE = re.compile(rf"(?P<times>{_AMOUNT})?(?P<part>.*)", re.DOTALL)


@cache
def electronegativities():
    """Electronegativities of H to Cf on Pauling's scale, NaN for He, Ne and Ar, which have none."""
    return np.array([Element(symbol).data.get("X") or np.nan for symbol in SYMBOLS], dtype=float)


def check_symbol(symbol):
    """Return the atomic number of an element symbol; D and T are hydrogen."""
    if symbol not in _Z:
        raise ValueError(
            f"unknown element {symbol!r}; expected a symbol from H to Cf (Z = 1 to {N_ELEMENTS})"
        )
    return _Z[symbol]


def _tokens(formula):
    position = 0
    while position < len(formula):
        match = _TOKEN.match(formula, position)
        if match is None:
            raise ValueError(f"unexpected {formula[position]!r} at position {position}")
        yield match.lastgroup, match.group()
        position = match.end()


def _parse_part(formula):
    """Amounts by atomic number of a formula without hydrate dots."""
    stack, closing, last = [{}], [], None
    for kind, text in _tokens(formula):
        if kind == "amount":
            amount = float(text)
            if last is None:
                raise ValueError(f"the amount {text} follows neither an element nor a closing bracket")
            if amount == 0:
                raise ValueError("an amount is zero; amounts must be positive")
            for z, one in last.items():  # one copy is in the sum already
                stack[-1][z] += one * (amount - 1)
            last = None
        elif text in _OPENING:
            stack.append({})
            closing.append(_OPENING[text])
            last = None
        else:
            if kind == "symbol":
                last = {check_symbol(text): 1.0}
            elif closing and text == closing.pop():
                last = stack.pop()
            else:
                raise ValueError(f"the bracket {text!r} closes nothing")
            for z, one in last.items():
                stack[-1][z] = stack[-1].get(z, 0.0) + one
    if closing:
        raise ValueError(f"a bracket is not closed by {closing[-1]!r}")
    if not stack[0]:
        raise ValueError("it names no element")
    return stack[0]


@lru_cache(maxsize=65_536)
def parse_formula(formula):
    """Fractions of a formula string as a read-only vector; see `check_composition` for what is allowed."""
    amounts = {}
    try:
        for part in re.split("[·•⋅*]", "".join(formula.split())):
            match = _HYDRATE.match(part)
            for z, amount in _parse_part(match["part"]).items():
                amounts[z] = amounts.get(z, 0.0) + amount * float(match["times"] or 1)
        return _fractions(amounts)
    except ValueError as error:
        raise ValueError(f"the formula {formula!r} does not parse: {error}") from None


def _fractions(amounts):
    out = np.zeros(N_ELEMENTS)
    for z, amount in amounts.items():
        if not (np.isfinite(amount) and amount > 0):
            raise ValueError(f"the amount of {SYMBOLS[z - 1]} is {amount:g}; amounts must be positive")
        out[z - 1] = amount
    out /= out.sum()
    out.setflags(write=False)
    return out


def _from_mapping(amounts):
    total = {}
    for symbol, amount in amounts.items():
        try:
            amount = float(amount)
        except (TypeError, ValueError):
            raise ValueError(f"the amount of {symbol} is {amount!r}, not a number") from None
        z = check_symbol(str(symbol))
        if not (np.isfinite(amount) and amount > 0):
            raise ValueError(f"the amount of {symbol} is {amount:g}; amounts must be positive")
        total[z] = total.get(z, 0.0) + amount
    if not total:
        raise ValueError("the composition names no element")
    return _fractions(total)


def _from_array(values):
    if values.ndim != 1 or not 1 <= values.size <= N_ELEMENTS:
        raise ValueError(
            f"an array of atomic fractions must be 1-D with 1 to {N_ELEMENTS} entries, hydrogen first, "
            f"got shape {values.shape}"
        )
    known = np.nan_to_num(values.astype(float), nan=0.0, posinf=np.inf, neginf=-np.inf)
    if not np.isfinite(known).all() or (known < 0).any():
        where = int(np.flatnonzero(~np.isfinite(known) | (known < 0))[0])
        raise ValueError(f"the fraction of {SYMBOLS[where]} is {known[where]:g}; it must be 0 or positive")
    if known.sum() == 0:
        raise ValueError("all fractions are zero; a specimen that was not measured is a row of NaN")
    return _fractions({z: known[z - 1] for z in np.flatnonzero(known) + 1})


def check_composition(cell):
    """Return the atomic fractions of H to Cf of one cell as a vector of 98 entries that sums to 1.

    Parameters
    ----------
    cell : str, pymatgen Composition, mapping of symbols to amounts, or array of atomic fractions

    Raises
    ------
    ValueError
        If the composition does not parse, names an unknown element or has an amount that is not positive.
    """
    if isinstance(cell, str):
        return parse_formula(cell)
    if isinstance(cell, Composition):
        if not cell:
            raise ValueError("the composition names no element")
        return _from_mapping(cell.get_el_amt_dict())
    if isinstance(cell, Mapping):
        return _from_mapping(cell)
    if isinstance(cell, np.ndarray) and cell.dtype.kind in "fiu":
        return _from_array(cell)
    raise ValueError(
        "expected a formula string, a pymatgen Composition or a mapping of element symbols to amounts, "
        f"got {type(cell).__name__}"
    )
