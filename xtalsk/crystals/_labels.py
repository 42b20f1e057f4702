"""The element meant by a site label such as ``CaM1``, ``O-H2`` or ``Wat``."""

import re

import gemmi

_SYMBOLS = {gemmi.Element(z).name: z for z in range(1, 99)} | {"D": 1}
# Molecules placed as one site: the scatterer that X-rays see is the heavy atom.
_MOLECULES = {"Wat": "O", "wat": "O", "OH": "O", "Ow": "O", "OW": "O", "CH": "C", "NH": "N"}


def element_of_label(label, present=()):
    """Atomic number meant by a site label.

    Two letters that spell an element which the formula holds win, then one letter that does, then any
    element; ``Wat`` and ``OH`` are the oxygen of water and hydroxyl, ``NH4`` and ``CH4`` the nitrogen
    and carbon, ``D`` is hydrogen.

    Parameters
    ----------
    label : str
    present : collection of str
        Symbols of the elements in the formula, which tell ``Ho`` from an oxygen-bound ``H``.

    Returns
    -------
    int
        The atomic number.

    Raises
    ------
    ValueError
        If the label starts with no element.

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
        # a real element in the formula (Os, not OH...) goes before a molecule's name
        if letters.startswith(molecule) and letters[:2].capitalize() not in present:
            return _SYMBOLS[symbol]
    two, one = letters[:2].capitalize(), letters[:1].upper()
    candidates = [s for s in (two, one) if s in _SYMBOLS]
    if letters[:2] != two and one in _SYMBOLS:  # OH, CO: a capital second letter starts another word
        candidates.reverse()
    for symbol in candidates:
        if symbol in present or (symbol == "D" and "H" in present):
            return _SYMBOLS[symbol]
    if not candidates:
        raise ValueError(f"the site label {label!r} names no element")
    return _SYMBOLS[candidates[0]]
