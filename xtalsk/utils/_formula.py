"""Formulas and compositions as vectors of atomic fractions of the elements hydrogen to californium.

Physics, simulation, spectra and composition use these functions.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache

import gemmi
import numpy as np

from xtalsk.utils._formula_text import listed_symbols, split_parts

N_ELEMENTS = 98
SYMBOLS = tuple(gemmi.Element(z).name for z in range(1, N_ELEMENTS + 1))
FEATURE_NAMES = tuple(symbol.lower() for symbol in SYMBOLS)

_Z = {symbol: z for z, symbol in enumerate(SYMBOLS, start=1)} | {"D": 1, "T": 1}
_OPENING = {"(": ")", "[": "]", "{": "}"}
_AMOUNT = r"(?:\d+\.?\d*|\.\d+)"
_TOKEN = re.compile(rf"(?P<symbol>[A-Z][a-z]?)|(?P<bracket>[()\[\]{{}}])|(?P<amount>{_AMOUNT})")
_NAME = re.compile(r"(?<![A-Za-z\d])[A-Za-z]?[a-z]{3,}(?![A-Za-z\d])")  # a word, as no formula has one
_LONGEST_SHOWN = 200  # characters of a formula in an error message
_ABBREVIATIONS = ("BFO", "BSCCO", "BST", "BTO", "ITO", "KNN", "KTN", "KTP", "SBN", "STO", "YBCO")
_NO_AMOUNTS = "it lists elements without amounts, which only ElementPresence can use; expected amounts"


@cache
def electronegativities():
    """Return the Pauling electronegativities of H to Cf; He, Ne and Ar have none and are NaN."""
    from pymatgen.core import Element  # slow to import

    return np.array([Element(symbol).data.get("X") or np.nan for symbol in SYMBOLS], dtype=float)


def check_symbol(symbol):
    """Return the atomic number of an element symbol; D and T are hydrogen.

    Raises
    ------
    ValueError
        If the symbol is not an element from H to Cf.
    """
    if symbol not in _Z:
        raise ValueError(
            f"unknown element {symbol!r}, expected a symbol from H to Cf (Z = 1 to {N_ELEMENTS})"
        )
    return _Z[symbol]


def _hint(formula, error):
    """Return what to do about a formula that does not parse, for an error message."""
    if _NAME.search(formula):
        return "; it may be the name of a mineral or compound, expected a formula such as SiO2"
    if re.search(r"[-+±]\s*[xyzδ]|(?:^|\W)[nxyz][A-Z\d]", formula):
        return "; amounts must be numbers"
    if re.search(r"\d*[+-]+\d*$|\d[+-]", formula):
        return "; leave out charges such as 3+ of Fe3+"
    if error.startswith("unknown element"):
        return "; leave out vacancies and dummy species"
    if formula[:1].islower():
        return "; symbols of elements begin with a capital letter"
    return ""


def _tokens(formula):
    """Yield (kind, text) of the symbols, brackets and amounts of a formula."""
    position = 0
    while position < len(formula):
        match = _TOKEN.match(formula, position)
        if match is None:
            raise ValueError(f"unexpected {formula[position]!r} at position {position}")
        yield match.lastgroup, match.group()
        position = match.end()


def _add(total, amounts, factor=1.0):
    """Add the amounts of the elements, times a factor, to ``total``, a dict by atomic number."""
    for z, amount in amounts.items():
        total[z] = total.get(z, 0.0) + amount * factor


def _check_multiplier(text, group):
    """Return the amount that multiplies a group; raise ValueError if it has no group or is zero."""
    if group is None:
        raise ValueError(f"the amount {text} follows neither an element nor a closing bracket")
    if float(text) == 0:
        raise ValueError("an amount is zero; amounts must be positive")
    if re.match(r"0\d", text):
        raise ValueError(f"the amount {text} begins with zero; for oxygen, write the letter O")
    return float(text)


def _parse_part(formula):
    """Return {atomic number: amount} of a formula without hydrate dots.

    ``totals`` has one dict per open bracket, and ``group`` is the last element or closed bracket, which the
    next amount multiplies.
    """
    totals, closing, group = [{}], [], None
    for kind, text in _tokens(formula):
        if kind == "amount":
            _add(totals[-1], group or {}, _check_multiplier(text, group) - 1)  # the group was added once
            group = None
            continue
        if text in _OPENING:
            totals.append({})
            closing.append(_OPENING[text])
            group = None
            continue
        if kind == "symbol":
            group = {check_symbol(text): 1.0}
        elif closing and text == closing.pop():
            group = totals.pop()
        else:
            raise ValueError(f"unexpected bracket {text!r}")
        _add(totals[-1], group)
    if closing:
        raise ValueError(f"a bracket is not closed, expected {closing[-1]!r}")
    if not totals[0]:
        raise ValueError("it contains no element")
    return totals[0]


@lru_cache(maxsize=65_536)
def parse_formula(formula):
    """Return the atomic fractions of a formula string as a read-only vector of 98 entries.

    Hydrates such as ``CuSO4·5H2O``, ``CaSO4.2H2O`` and ``CuSO4 5H2O``, brackets, decimal amounts, amounts in
    atomic per cent (``Fe 50 Ni 50``), blanks and Unicode subscripts are allowed.

    Raises
    ------
    ValueError
        If the formula does not parse, or if it lists elements without amounts; the message names it.
    """
    amounts = {}
    try:
        if listed_symbols(formula):
            raise ValueError(_NO_AMOUNTS)
        if formula.strip() in _ABBREVIATIONS:
            raise ValueError("it is an abbreviation; expected a formula such as SiO2")
        for times, part in split_parts(formula):
            _add(amounts, _parse_part(part), times)
        return _normalize(amounts)
    except ValueError as error:
        text = formula if len(formula) <= _LONGEST_SHOWN else formula[:_LONGEST_SHOWN] + "..."
        raise ValueError(
            f"the formula {text!r} does not parse: {error}{_hint(formula, str(error))}"
        ) from None


def check_listed_elements(cell):
    """Return a list of elements without amounts as a vector of 98 entries, 1 for an element of the list.

    Parameters
    ----------
    cell : object
        A list is text such as "Ba, Ti, O" or "Ba-Ti-O", or a list, tuple or set of symbols.

    Returns
    -------
    ndarray of shape (98,), or None if the cell is no such list

    Raises
    ------
    ValueError
        If one of the symbols is not an element.
    """
    symbols = listed_symbols(cell) if isinstance(cell, str) else None
    if isinstance(cell, list | tuple | set | frozenset) and all(isinstance(symbol, str) for symbol in cell):
        symbols = list(cell)
    if not symbols:
        return None
    present = np.zeros(N_ELEMENTS)
    present[[check_symbol(str(symbol).strip()) - 1 for symbol in symbols]] = 1
    return present


def _check_amount(z, amount):
    """Raise ValueError unless the amount of an element is positive and finite."""
    if not (np.isfinite(amount) and amount > 0):
        raise ValueError(f"the amount of {SYMBOLS[z - 1]} is {amount:g}; amounts must be positive")


def _normalize(amounts):
    """Return positive amounts, a dict by atomic number, as a read-only vector of fractions."""
    fractions = np.zeros(N_ELEMENTS)
    for z, amount in amounts.items():
        _check_amount(z, amount)
        fractions[z - 1] = amount
    with np.errstate(over="ignore"):
        total = fractions.sum()
    if not np.isfinite(total):
        fractions /= fractions.max()
        total = fractions.sum()
    fractions /= total
    fractions.setflags(write=False)
    return fractions


def _from_mapping(amounts):
    """Return the atomic fractions of a mapping from symbols to amounts."""
    total = {}
    for symbol, amount in amounts.items():
        try:
            amount = float(amount)
        except OverflowError:
            amount = np.inf
        except (TypeError, ValueError):
            raise ValueError(f"the amount of {symbol} is {amount!r}, not a number") from None
        z = check_symbol(str(symbol))
        _check_amount(z, amount)
        _add(total, {z: amount})
    if not total:
        raise ValueError("the composition contains no element")
    return _normalize(total)


def _from_array(values):
    """Return the atomic fractions of an array that starts with hydrogen; NaN counts as zero."""
    if values.ndim != 1 or not 1 <= values.size <= N_ELEMENTS:
        raise ValueError(
            f"an array of atomic fractions must be 1-D with 1 to {N_ELEMENTS} entries, hydrogen first, "
            f"got shape {values.shape}"
        )
    fractions = np.nan_to_num(values.astype(float), nan=0.0, posinf=np.inf, neginf=-np.inf)
    invalid = np.flatnonzero(~np.isfinite(fractions) | (fractions < 0))
    if len(invalid):
        i = invalid[0]
        raise ValueError(f"the fraction of {SYMBOLS[i]} is {fractions[i]:g}; it must be 0 or positive")
    if fractions.sum() == 0:
        raise ValueError("all fractions are zero; the row of a specimen that was not measured must be NaN")
    return _normalize({z: fractions[z - 1] for z in np.flatnonzero(fractions) + 1})


def check_composition(cell):
    """Return the atomic fractions of H to Cf in one cell as a vector of 98 entries that sums to 1.

    Parameters
    ----------
    cell : str, pymatgen Composition, mapping of symbols to amounts, or array of atomic fractions
        An array starts with hydrogen; NaN counts as zero.

    Returns
    -------
    ndarray of shape (98,), read-only

    Raises
    ------
    ValueError
        If the composition does not parse, contains an unknown element, or has an amount that is not
        positive.
    """
    if isinstance(cell, str):
        return parse_formula(cell)
    if hasattr(cell, "get_el_amt_dict"):  # a Composition of pymatgen, which is slow to import
        if not cell:
            raise ValueError("the composition contains no element")
        return _from_mapping(cell.get_el_amt_dict())
    if isinstance(cell, Mapping):
        return _from_mapping(cell)
    if isinstance(cell, np.ndarray) and cell.dtype.kind in "fiu":
        return _from_array(cell)
    if check_listed_elements(cell) is not None:
        raise ValueError(_NO_AMOUNTS)
    raise ValueError(
        "expected a formula string, a pymatgen Composition or a mapping of element symbols to amounts, "
        f"got {type(cell).__name__}"
    )
