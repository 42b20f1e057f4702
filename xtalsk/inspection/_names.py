"""Names of phases and symmetries as they are printed: subscripts, overbars, screw axes."""

import re

import gemmi

from xtalsk.utils import is_missing

_MONOCLINIC = range(3, 16)


def print_formula(formula):
    """Return a formula with subscripts, as mathtext.

    Examples
    --------
    >>> print_formula("Fe2O3")
    'Fe$_{2}$O$_{3}$'
    """
    return re.sub(r"(?<=[A-Za-z)])(\d+(?:\.\d+)?)", r"$_{\1}$", str(formula))


def print_space_group(number):
    r"""Return the Hermann-Mauguin symbol of a space group, as mathtext.

    Examples
    --------
    >>> print_space_group(225), print_space_group(14)
    ('$Fm\\bar{3}m$', '$P2_{1}/c$')
    """
    tokens = gemmi.find_spacegroup_by_number(int(number)).hm.split()
    if int(number) in _MONOCLINIC:
        tokens = [token for token in tokens if token != "1"]
    symbol = "".join(re.sub(r"^([2346])([1-5])", r"\1_{\2}", token) for token in tokens)
    return print_point_group(symbol)


def print_point_group(symbol):
    r"""Return a symbol with overbars, as mathtext.

    Examples
    --------
    >>> print_point_group("-43m")
    '$\\bar{4}3m$'
    """
    barred = re.sub(r"-(\d)", r"\\bar{\1}", str(symbol))
    return f"${barred}$"


def print_label(label, level):
    """Return a label of a level of symmetry as it is printed beside its bar."""
    if level == "space_group":
        return f"{print_space_group(label)} ({int(label)})"
    return print_point_group(label) if level == "point_group" else str(label)


def print_candidate(candidate, rank, is_space_group):
    """Return one line of text on an entry of the library (a row of candidates)."""
    names = [candidate.get("mineral"), candidate.get("formula")]
    words = [str(names[0])] if not is_missing(names[0]) and str(names[0]) else []
    if not is_missing(names[1]) and str(names[1]) not in words:
        words.append(print_formula(names[1]))
    words.append(print_space_group(candidate["label"]) if is_space_group else str(candidate["label"]))
    if not is_missing(candidate.get("probability")):
        share = print_share(candidate["probability"])
        words.append(f"p {share}" if share[0] in "<>" else f"p = {share}")
    elif not is_missing(candidate.get("similarity")):
        words.append(f"similarity {candidate['similarity']:.2f}")
    if not is_missing(candidate.get("scale")) and abs(candidate["scale"] - 1) > 1e-3:
        words.append(f"scale {candidate['scale'] - 1:+.1%}".replace("-", "−"))
    return f"{rank}  " + ", ".join(words)


def print_share(share):
    """Return a probability in per cent; never a rounded 0 or 100% that is not exact.

    Examples
    --------
    >>> print_share(0.9996), print_share(0.456), print_share(0.0004)
    ('> 99%', '46%', '< 1%')
    """
    if 0.995 <= share < 1:
        return "> 99%"
    return "< 1%" if 0 < share < 0.005 else f"{share:.0%}"
