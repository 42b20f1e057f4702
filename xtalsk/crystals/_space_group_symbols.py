"""Space groups by symbol: Hermann-Mauguin in many spellings, Schoenflies, Hall, number."""

import re
from functools import cache, lru_cache

import gemmi

_OVERLINE = re.compile(r"\\?bar\s*\{?(\d)\}?|(\d)[\u0304\u0305]")
_IN_BRACKETS = re.compile(r"(?<=\d)\((\d)\)|(?<=\d)<sub>(\d)</sub>|(?<=\d)sub(\d)", re.IGNORECASE)
_NUMBER_BEHIND = re.compile(r"\s+(?:\(\s*(?:no\.?|#)?\s*\d{1,3}\s*\)|(?:no\.?|#)\s*\d{1,3})$", re.IGNORECASE)
_ORIGIN = re.compile(
    r"[\s:({\[]*(?:origin\s*(?:choice)?|choice|:\s*o?|(?<=\s)o)\s*([12])\s*[)}\]]?$", re.IGNORECASE
)
_LETTER_BEHIND = re.compile(r"(?<=\S)[\s:]*([SZHR])$")
_AXES_BEHIND = re.compile(r"(?<=\S)\s*:\s*([hr])$")
_CHOICE_OF_LETTER = {"S": "1", "Z": "2"}  # S and Z mark the origin choices in the ICSD
_SCHOENFLIES = re.compile(r"(?:[CDS]\d[hvdi]?|C[sih]|[TO][hd]?)\d{1,2}")
_FULL_PART = re.compile(r"[2-6][1-5]?/([a-z])")
_CHANGED_AXES = re.compile(r"\([^)]*,[^)]*,[^)]*\)")


@cache
def _table():
    """Return the tabulated settings by symbol without blanks, and by number."""
    by_symbol, by_number = {}, {}
    for group in gemmi.spacegroup_table():
        by_number.setdefault(group.number, []).append(group)
        for symbol in {group.hm, _short(group)}:
            by_symbol.setdefault(symbol.replace(" ", "").lower(), []).append(group)
    return by_symbol, by_number


def _short(group):
    """Hermann-Mauguin symbol without the ones of a monoclinic group."""
    if not 3 <= group.number <= 15:
        return group.hm
    lattice, *parts = group.hm.split()
    return " ".join([lattice, *(p for p in parts if p != "1")])


@cache
def _number_of_schoenflies():
    """Space-group numbers by Schoenflies symbol such as ``Oh5``."""
    import spglib

    types = (spglib.get_spacegroup_type(hall) for hall in range(1, 531))
    return {t.schoenflies.replace("^", "").lower(): t.number for t in types}


def _clean(symbol):
    """Symbol without typesetting, and the origin choice or axes (1, 2, H, R or None) behind it."""
    symbol = re.sub(r"[−–‐]", "-", symbol.strip(" '\"$"))
    symbol = _OVERLINE.sub(lambda m: "-" + (m[1] or m[2]), symbol)
    symbol = _IN_BRACKETS.sub(lambda m: m[1] or m[2] or m[3], symbol)
    symbol = _NUMBER_BEHIND.sub("", symbol)
    for pattern in (_ORIGIN, _LETTER_BEHIND, _AXES_BEHIND):
        match = pattern.search(symbol)
        if match and match.start() > 0:
            choice = match[1].upper()
            return symbol[: match.start()].strip(), _CHOICE_OF_LETTER.get(choice, choice)
    return symbol, None


def _short_of_full(symbol):
    """Short symbol of a full one: ``F 4/m -3 2/m`` is ``F m -3 m``, ``P 21/n 21/m 21/a`` is ``P n m a``."""
    lattice, *parts = symbol.split()
    if len([p for p in parts if p != "1"]) < 2:
        return symbol
    is_cubic = len(parts) > 1 and parts[1] in ("3", "-3")
    keep_first = parts[0][0] in "46" and not is_cubic
    short = [p if i == 0 and keep_first else _FULL_PART.sub(r"\1", p) for i, p in enumerate(parts)]
    return " ".join([lattice, *short])


def _lookup(symbol):
    """List the tabulated settings of a clean symbol without a choice behind it."""
    by_symbol, by_number = _table()
    compact = re.sub(r"[\s_]", "", symbol)
    spellings = [compact, re.sub(r"[\s_]", "", _short_of_full(symbol)) if " " in symbol else compact]
    spellings.append(re.sub(r"^([PIF])43([mncd])$", r"\1-43\2", compact))  # F 43m of old papers
    for spelling in spellings:
        if spelling.lower() in by_symbol:
            return by_symbol[spelling.lower()]
    for spelling in spellings:
        group = gemmi.find_spacegroup_by_name(spelling)
        if group is not None:
            return [g for g in by_number[group.number] if g.hm == group.hm]
    schoenflies = compact.replace("^", "")
    if _SCHOENFLIES.fullmatch(schoenflies):
        return settings_of_number(_number_of_schoenflies().get(schoenflies.lower(), 0))
    return []


@lru_cache(maxsize=4096)
def settings_of_symbol(symbol):
    """List the gemmi SpaceGroups that a Hermann-Mauguin or Schoenflies symbol may mean.

    A symbol without origin choice or axes has one for each choice, a short monoclinic symbol has one for each
    unique axis. The list is empty where the symbol is unknown.

    Examples
    --------
    >>> from xtalsk.crystals._space_group_symbols import settings_of_symbol
    >>> for symbol in ("F d -3 m Z", "P2(1)/c", "F 4/m -3 2/m", "O_h^5", "R-3mH"):
    ...     print([group.xhm() for group in settings_of_symbol(symbol)])
    ['F d -3 m:2']
    ['P 1 21/c 1', 'P 21/c 1 1']
    ['F m -3 m']
    ['F m -3 m']
    ['R -3 m:H']
    """
    if _CHANGED_AXES.search(symbol):
        return []
    clean, choice = _clean(symbol)
    if not clean:
        return []
    settings = _lookup(clean)
    return [g for g in settings if g.ext == choice] or settings


def without_changed_axes(symbol):
    """Symbol without its change of axes: ``P 42/m m c (a,b+1/2,c)`` is ``P 42/m m c``."""
    return _CHANGED_AXES.sub("", symbol)


def settings_of_number(number):
    """List the gemmi SpaceGroups of the standard symbol of a number: both origin choices, both axes of R."""
    groups = _table()[1].get(number, [])
    return [g for g in groups if g.hm == groups[0].hm]


def all_settings_of_number(number):
    """List the gemmi SpaceGroups of all tabulated settings of a number."""
    return _table()[1].get(number, [])
