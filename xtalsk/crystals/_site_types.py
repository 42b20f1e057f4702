"""Elements and amounts of type symbols such as ``Fe3+``, ``2H`` or ``0.8Nb + 0.2Zr``."""

import re
from functools import lru_cache

import gemmi

from xtalsk.crystals._constants import ISOTOPE_MASS_RATIO, MAX_SITE_OCCUPANCY
from xtalsk.crystals._labels import element_of_label

_DUMMIES = {"X", "Xx", "Du", "Dum", "Dummy", "Q", "Bq", "Vac", "Va", "Vacancy"}
_MOLECULES = {"H2O": 8, "D2O": 8, "OH2": 8, "H3O": 8, "OH": 8, "OD": 8, "NH3": 7, "NH4": 7, "ND4": 7,
              "CH3": 6, "CH4": 6, "CH2": 6, "CH": 6, "NH2": 7, "NH": 7, "Wat": 8, "WAT": 8}  # fmt: skip
_ELEMENT = re.compile(r"([A-Z][a-z]?|[A-Z]{2}|[a-z]{1,2})(?:\d{0,2}[+-]|[+-]?\d{1,2})?")
_ISOTOPE = re.compile(r"(\d{1,3})([A-Z][a-z]?)(?:\d?[+-])?")
_AMOUNT = r"\d*\.\d+|\d+/\d+"
_AMOUNT_FIRST = re.compile(rf"({_AMOUNT})\s*\*?\s*([A-Z][a-z]?)(?:\d[+-]|[+-]\d(?![.\d])|[+-](?![\d.\s]))?")
_AMOUNT_LAST = re.compile(rf"([A-Z][a-z]?)(?:\d[+-]|[+-]\d(?![.\d])|[+-](?![\d\s]))?\+?\s*({_AMOUNT})")
_OXIDATION = re.compile(r"\((?=[IV])(?:I{1,3}|IV|VI{0,3})\)$")  # Fe(III)
_SEPARATORS = re.compile(r"[\s+,;:/&()]*")


@lru_cache(maxsize=4096)
def parse_type(text):
    """Elements of an atom type symbol of a CIF.

    Parameters
    ----------
    text : str
        Without quotes.

    Returns
    -------
    tuple of (int, float) or None
        Atomic number and amount of each element. The tuple is empty for dummy atoms and vacancies.
        None stands for an unknown type.

    Raises
    ------
    ValueError
        If the text names no element, or several elements without amounts, or amounts that add up to more
        than 1.

    Examples
    --------
    >>> from xtalsk.crystals._site_types import parse_type
    >>> for text in ("Fe3+", "2H", "0.8Nb + 0.2Zr", "Fe2+0.5Fe3+0.5", "X"):
    ...     print(parse_type(text))
    ((26, 1.0),)
    ((1, 1.0),)
    ((41, 0.8), (40, 0.2))
    ((26, 1.0),)
    ()
    """
    text = _OXIDATION.sub("", text.strip())
    if text in ("", "?"):
        return None
    if text == "." or text.capitalize() in _DUMMIES:
        return ()
    if text == "T":
        return ((1, 1.0),)
    if text in _MOLECULES:
        return ((_MOLECULES[text], 1.0),)
    if (match := _ELEMENT.fullmatch(text)) and (z := _atomic_number(match[1])):
        return ((z, 1.0),)
    if (match := _ISOTOPE.fullmatch(text)) and (z := _atomic_number(match[2])):
        return ((_check_isotope(text, int(match[1]), z), 1.0),)
    parts = _amounts(text, _AMOUNT_FIRST, 1, 2) or _amounts(text, _AMOUNT_LAST, 2, 1)
    if parts:
        if (total := sum(amount for _, amount in parts)) > MAX_SITE_OCCUPANCY:
            raise ValueError(f"the amounts of its type symbol {text!r} add up to {total:g}, more than 1")
        return tuple(
            (z, sum(a for other, a in parts if other == z)) for z in dict.fromkeys(z for z, _ in parts)
        )
    if len(re.findall(r"[A-Z][a-z]?", text)) > 1:
        raise ValueError(f"its type symbol {text!r} names several elements without readable amounts")
    return ((element_of_label(text), 1.0),)


def _atomic_number(symbol):
    """Atomic number of a symbol in any case, 0 where it is no element."""
    return gemmi.Element(symbol).atomic_number


def _check_isotope(text, mass, z):
    """Atomic number ``z``, if the mass number can belong to it."""
    low, high = (ratio * gemmi.Element(z).weight for ratio in ISOTOPE_MASS_RATIO)
    if (z != 1 and not low < mass < high) or (z == 1 and mass > 3):
        raise ValueError(f"its type symbol {text!r} names neither an isotope nor a readable amount")
    return z


def _amounts(text, pattern, amount_group, symbol_group):
    """Elements and amounts where the whole text is a list of them, else an empty tuple."""
    parts, position = [], _SEPARATORS.match(text).end()
    while position < len(text):
        match = pattern.match(text, position)
        if match is None or not (z := _atomic_number(match[symbol_group])):
            return ()
        numerator, _, denominator = match[amount_group].partition("/")
        if denominator and not float(denominator):
            return ()
        parts.append((z, float(numerator) / float(denominator or 1)))
        position = _SEPARATORS.match(text, match.end()).end()
    return tuple(parts)
