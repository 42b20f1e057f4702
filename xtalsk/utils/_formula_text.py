"""How people write formulas: hydrates, blanks, amounts in per cent, lists of elements, other alphabets.

`split_parts` turns a text into multiplied parts without blanks, such as ``[(1.0, "CuSO4"), (5.0, "H2O")]``.
"""

import re
import unicodedata

_NUMBER = r"(?:\d+\s*/\s*\d+|\d+\.?\d*|\.\d+)"
_MOLECULE = r"\(?(?:H2O2?|D2O|H2\s?O|NH3|HF|HCl|HBr|CO2|CH3OH|C2H5OH)\)?"  # molecules of crystallisation
_OXIDE = re.compile(rf"{_NUMBER}?(?:[A-Z][a-z]?\d*O(?!0|1(?!\d))\d*|{_MOLECULE})")
_SYMBOL = re.compile(r"[A-Z][a-z]?")
_WHOLE_NUMBER = re.compile(_NUMBER)
_MULTIPLIED = re.compile(rf"\s*({_NUMBER})?\s*(.*?)\s*", re.DOTALL)
_LIST = re.compile(r"[A-Z][a-z]?(?:\s*[-/‐‑‒–—]\s*[A-Z][a-z]?)+")
_WATER = re.compile(rf"\.(\s*(?:\d+/\d+|\d+\.\d+|\d+)?\s*{_MOLECULE})$")

_DOTS = "·•⋅∙*×・‧⸱●"
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼ⁿ^"
_SUBSCRIPT_MARKS = re.compile(r"</?sub>|_\{([\d.]+)\}|_([\d.]+)_?|\$", re.IGNORECASE)
_WEIGHTS = re.compile(r"(?:w|wt|weight|mass|m)[-.\s]*%|%[-.\s]*(?:w|wt|mass)\b|(?-i:ppm|PPM)", re.IGNORECASE)
_ATOMS = re.compile(r"\(?\s*(?:at|atom|atoms|atomic|mol|mole)[-.\s]*%\s*\)?", re.IGNORECASE)
_BRACKET = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")


def clean(text):
    """Return a formula in plain characters: subscripts, full-width characters and marks become letters.

    Raises
    ------
    ValueError
        If it has superscripts, which are charges or mass numbers, or if it gives weights or plain per cents.
    """
    found = [character for character in text if character in _SUPERSCRIPTS]
    if found:
        raise ValueError(f"unexpected {found[0]!r}; leave out charges and mass numbers")
    text = _SUBSCRIPT_MARKS.sub(lambda match: match[1] or match[2] or "", text)
    text = unicodedata.normalize("NFKC", text).replace("\N{FRACTION SLASH}", "/")
    text = _ATOMS.sub(" ", re.sub(r"per\s?cent", "%", text))
    if _WEIGHTS.search(text):
        raise ValueError("it gives weights; expected numbers of atoms or atomic per cent (at%)")
    if "%" in text:
        raise ValueError("'%' may be of weight or of atoms; expected numbers of atoms or at%")
    return re.sub(f"[{re.escape(_DOTS)}]", "·", text.strip())


def listed_symbols(text):
    """Return the symbols of a list of elements without amounts, such as "Ba, Ti, O", else None.

    Symbols are separated by commas, semicolons, hyphens or slashes. Blanks do not make a list: "Na Cl" is a
    formula.
    """
    text = unicodedata.normalize("NFKC", text).strip().strip(",;")
    pieces = [piece.strip() for piece in re.split("[,;]", text)]
    if len(pieces) < 2 and _LIST.fullmatch(text):
        pieces = _SYMBOL.findall(text)
    if len(pieces) > 1 and all(_SYMBOL.fullmatch(piece) for piece in pieces):
        return pieces
    return None


def split_parts(text):
    """Return the parts of a formula and their multipliers, list of (float, str).

    Parts are separated by a dot, by a full stop before water or another molecule, or by a blank before a
    number. Blanks that separate nothing are left out.

    Raises
    ------
    ValueError
        If the amounts are ambiguous.
    """
    text = clean(text)
    text = re.sub(r"(?<=\d),(?=\d)", ".", text)  # decimal commas
    text = _BRACKET.sub(_join_alternatives, text)
    if "," in text or ";" in text:
        return _split_list(text)
    parts = [part for dotted in _split_full_stops(text) for part in _split_blanks(dotted.split())]
    return [_multiplied(part) for part in parts]


def _join_alternatives(bracket):
    """Return a bracket such as (Mg0.9,Fe0.1) without its commas."""
    pieces = bracket[1].split(",")
    if len(pieces) > 1 and not all(piece.strip()[-1:].isdigit() for piece in pieces):
        raise ValueError("a bracket lists elements without amounts; expected amounts such as (Mg0.5Fe0.5)")
    return bracket[0].replace(",", "")


def _value(number):
    """Return a number such as "5", "0.5" or "1/2" as a float."""
    number, _, divisor = number.partition("/")
    return float(number) / float(divisor or 1)


def _multiplied(part):
    """Return the multiplier at the beginning of a part, and the rest without blanks."""
    number, rest = _MULTIPLIED.fullmatch(part).groups()
    if number is None:
        return 1.0, rest.replace(" ", "")
    if not float(number.partition("/")[2] or 1) or not _value(number):
        raise ValueError("an amount is zero; amounts must be positive")
    return _value(number), rest.replace(" ", "")


def _split_list(text):
    """Return the parts of a list with amounts, such as "Fe: 50, Ni: 50" or "50 SiO2; 50 Al2O3"."""
    parts = []
    for piece in re.split("[,;]", text.strip(",; ")):
        words = re.split(r"\s*[:=]\s*|\s+", piece.strip())
        joined = re.fullmatch(rf"([A-Z][a-z]?)({_NUMBER})|({_NUMBER})([A-Z].*)", "".join(words))
        if joined is None or len(words) > 2:
            raise ValueError(
                f"{piece.strip()!r} in a list separated by commas; expected an element and its amount"
            )
        symbol, amount, multiplier, formula = joined.groups()
        parts.append(_multiplied(f"{amount or multiplier} {symbol or formula}"))
    return parts


def _split_full_stops(text):
    """Return the parts of a formula between dots, and between full stops that are no decimal points.

    A full stop is a dot beside a blank, before a letter or a bracket, before water at the end, and between
    oxides. Before water, "O4.2H2O" has two molecules, but "Ca1.5H2O" has an amount of 1.5.
    """
    text = re.sub(r"\s*·\s*|\s+\.\s*|\.\s+|\.(?=[A-Za-z(\[{])", "·", text)
    text = re.sub(r"\s+[xX]\s+(?=\d)", "·", text)
    parts = []
    for part in text.split("·"):
        oxides = part.split(".")
        if len(oxides) > 1 and all(_OXIDE.fullmatch(oxide.strip()) for oxide in oxides):
            parts += oxides
        else:
            parts += _split_water(part)
    return parts


def _split_water(part):
    """Return a part without the water at its end, and the water; see `_split_full_stops`."""
    stops = [match.start() for match in re.finditer(r"\.", part)]
    possible = [stop for stop in stops if _WATER.match(part, stop) and not _is_decimal(part[:stop])]
    if not possible:
        return [part]
    first = possible[0]
    is_sure = re.match(r"\.\s*0", part[first:]) or re.search(r"(?:O\d*|[)\]}]\d*)$", part[:first])
    stop = first if is_sure else possible[-1]
    return [part[:stop], part[stop + 1 :]]


def _is_decimal(before):
    """Return whether a full stop after this text is a decimal point: after a 0 or 1, or after one element."""
    return re.search(r"(?:^|\D)[01]$|^(?:[A-Z][a-z]?)?\d*$", before) is not None


def _split_blanks(words):
    """Return the parts of a formula, given as its words between blanks."""
    if not any(word[0].isdigit() or word[0] == "." for word in words[1:]):
        return _split_oxides(words)
    numbers = [_WHOLE_NUMBER.fullmatch(word) is not None for word in words]
    if numbers[0] and numbers == [i % 2 == 0 for i in range(len(words))] and len(words) % 2 == 0:
        return [f"{words[i]} {words[i + 1]}" for i in range(0, len(words), 2)]
    parts = [[]]
    for i, (word, is_number) in enumerate(zip(words, numbers, strict=True)):
        has_amount = not parts[-1] or parts[-1][-1][-1:].isdigit()
        is_molecule = re.fullmatch(_MOLECULE, "".join(words[i + 1 :])) is not None
        if not is_number:
            is_start = i > 0 and word[0].isdigit() and not numbers[i - 1]
            parts += [[word]] if is_start else []
            parts[-1] += [] if is_start else [word]
        elif i and (has_amount or is_molecule):
            parts.append([word])
        else:
            parts[-1].append(word)
    _check_mixed(words, parts)
    return [" ".join(part) if _is_number(part[0]) else "".join(part) for part in parts]


def _split_oxides(words):
    """Return the words of a formula in oxides, such as "2CaO SiO2", or the formula as one part."""
    has_multiplier = words and words[0][0].isdigit() and len(words) > 1
    if has_multiplier and all(_OXIDE.fullmatch(word) for word in words):
        return words
    return [" ".join(words)]


def _is_number(word):
    """Return whether a word is a number."""
    return _WHOLE_NUMBER.fullmatch(word) is not None


def _check_mixed(words, parts):
    """Raise ValueError if an amount may belong to the element before it or after it."""
    for part in parts[1:]:
        if len(part) > 1 and part[0][0].isdigit() and not _is_number(part[0]) and _is_number(part[-1]):
            raise ValueError(
                f"the amounts in {' '.join(words)!r} are ambiguous; write them after the element"
            )
    if _is_number(words[-1]) and parts[-1][-1] == words[-1] and len(parts[-1]) == 1:
        raise ValueError(f"the amount {words[-1]} follows neither an element nor a closing bracket")
