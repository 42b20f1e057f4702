"""Elements of site labels such as ``CaM1``, ``O-H2`` or ``Wat``."""

import re

import gemmi

_SYMBOLS = {gemmi.Element(z).name: z for z in range(1, 99)} | {"D": 1}
# Molecules listed as one site: the heavy atom scatters nearly all X-rays.
_MOLECULES = {"Wat": "O", "wat": "O", "OH": "O", "Ow": "O", "OW": "O", "CH": "C", "NH": "N"}


def element_of_label(label, present=()):
    """Atomic number of the element that a site label names.

    Two letters that spell an element of the formula come first, then one letter that does, then any
    element. ``Wat`` and ``OH`` are the oxygen of water and hydroxyl, ``NH4`` and ``CH4`` are nitrogen and
    carbon, ``D`` is hydrogen.

    Parameters
    ----------
    label : str
    present : collection of str
        Symbols of the elements in the formula. They decide between holmium and hydrogen for ``Ho``.

    Returns
    -------
    int
        The atomic number.

    Raises
    ------
    ValueError
        If the label does not start with an element.

    Examples
    --------
    >>> from xtalsk.crystals._labels import element_of_label
    >>> [element_of_label(s) for s in ("CaM1", "O-H2", "Wat3", "D1", "Nal")]
    [20, 8, 8, 1, 11]
    >>> element_of_label("Ho", present=["H", "O"])
    1
    """
    letters = re.match(r"[A-Za-z]*", label.strip()).group()
    for molecule, symbol in _MOLECULES.items():
        # an element of the formula (Os) comes before a molecule (OH)
        if letters.startswith(molecule) and letters[:2].capitalize() not in present:
            return _SYMBOLS[symbol]
    two, one = letters[:2].capitalize(), letters[:1].upper()
    candidates = [s for s in (two, one) if s in _SYMBOLS]
    if letters[:2] != two and one in _SYMBOLS:  # OH, CO: a capital letter starts another element
        candidates.reverse()
    for symbol in candidates:
        if symbol in present or (symbol == "D" and "H" in present):
            return _SYMBOLS[symbol]
    if not candidates:
        raise ValueError(f"the site label {label!r} names no element")
    return _SYMBOLS[candidates[0]]
