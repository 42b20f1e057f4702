"""Headings of text files: names of columns, their units, and the wavelength."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from xtalsk.io._constants import UNITLESS_WAVELENGTHS
from xtalsk.io._numbers import SEPARATORS, split_line, to_number

_UNITS = {  # unit: pattern of its spellings in normalised text
    "1/Å": r"(?:1|2pi)?/(?:å|a|ang\w*)|(?:å|a|ang\w*)\^?-1|inv(?:erse)?[ _.]*(?:å|a|ang\w*)",
    "1/nm": r"(?:1|2pi)?/nm|nm\^?-1|inv(?:erse)?[ _.]*nm",
    "1/Å²": r"(?:å|a|ang\w*)\^?-2|1/(?:å|a)\^?2",
    "1/nm²": r"nm\^?-2|1/nm\^?2",
    "keV": r"kev",
    "eV": r"ev",
    "Å": r"å|a|ang|angstr[oö]e?ms?",
    "nm": r"nm",
    "pm": r"pm",
    "mm": r"mm",
    "m": r"m",
    "2θ": r"(?:°|deg\.?)? ?2 ?-?th(?:eta)?\.?|°? ?2-?θ",
    "mrad": r"mrad(?:ians?)?",
    "rad": r"rad(?:ians?)?",
    "deg": r"deg(?:rees?)?\.?|°",
    "other": r"cts|counts?|cps|counts?/s|a\.? ?u\.?|arb\.? ?u(?:nits?|\.)?",
}
_STEMS = {  # quantity: pattern of its names without units, in normalised text
    "two_theta": r"(?:°|deg\.?)? ?2[ _-]?(?:theta|thetha|th|θ)(?:[-/ ]?(?:omega|theta|θ))?(?: angle)?|"
    r"two[ _-]?theta|t?tth(?:eta)?|(?:theta|θ|th)[-/ ]?2[ -]?(?:theta|θ|th)|"
    r"(?:scattering |diffraction )?angle|pos(?:ition)?\.?",
    "theta": r"theta|θ|th|bragg angle",
    "q": r"\|?q\|?|q[ -]?(?:vector|value)|scattering vector|momentum transfer|2pi/d|"
    r"4pi ?sin ?\(?(?:theta|θ)\)? ?/ ?(?:lambda|λ)",
    "s": r"\|?[skg]\|?|1/d(?:[ -]spacing)?|d\*|2 ?sin ?\(?(?:theta|θ)\)? ?/ ?(?:lambda|λ)|spatial frequency|"
    r"reciprocal (?:spacing|length)",
    "half_s": r"sin ?\(?(?:theta|θ)\)? ?/ ?(?:lambda|λ|l)|stol",
    "s_squared": r"d\*\^?2|1/d\^?2",
    "d": r"d|d[ -]?spacings?|d[ -]?values?|d_?hkl|(?:interplanar|lattice) (?:spacing|distance)",
    "energy": r"energy|energy[ _-]loss|loss|e|",  # "" and "e" count only with a unit of energy
    "index": r"channel|ch\.?|index|points?|no\.?|nr\.?|#|n°|number|line",
    "other": r"r|radius|tof|time of flight|time|wavelength|omega|chi|phi|bin|temperature|monitor",
    "uncertainty": r"sig(?:ma)?|σ|esd|e\.s\.d\.|err(?:or)?s?|std(?:dev)?|uncertainty|dy|d[iy]|weight|w",
    "computed": r"[yi][ _]?\(?calc?\)?|calc(?:ulated)?|fit|b(?:ac)?kg(?:r(?:ound)?|d)?|background|"
    r"diff(?:erence)?|yobs-ycalc?|residual",
    "observed": r"[yi][ _]?\(?obs\)?|obs(?:erved)?|meas(?:ured)?|gemessen",
    "intensity": r"int(?:ens(?:ity|ities|ität|ite|ité|idad|ità)?)?\.?(?: \(?norm\w*\)?)?|"
    r"counts?(?: ?/ ?s| per second)?|cts|cps|signal|impulse|yields?",
    "weak_intensity": r"[iyn]|raw|net|data",
    "x": r"x",
}
_STEMS = {quantity: re.compile(pattern) for quantity, pattern in _STEMS.items()}
_UNIT = "|".join(f"(?:{pattern})" for pattern in _UNITS.values())
_UNIT_IN_BRACKETS = re.compile(r"^(.*?)\s*[\[(]\s*([^\[\]()]*?)\s*[\])]\s*$")
_UNIT_AT_END = re.compile(rf"^(.*?)(?:\s*/\s*|_|\s+|\s*,\s*|^)({_UNIT})$")
_LENGTHS = {"å": 1.0, "a": 1.0, "ang": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}
_WAVELENGTH = re.compile(
    r"(?:wave[ _-]?length|lambda|λ|_wl1?)(?P<which>[^\d=:]*(?:alpha|α|a)_?\s?[12]|[^\d=:]*beta)?"
    r"(?:\s*[\[(][^\d\])]*[\])])?[^\d=:;,(\[\n]{0,20}[=:;,\s\"]*(?P<value>\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)\"?\s*(?P<unit>å|ang\w*|nm|pm|a\b|m\b)?"
)
_LONGEST_HEADING = 500  # characters; longer lines are no headings
_LINES_OF_UNITS = 3  # last lines before the numbers in which a unit of the axis is looked for
_AXIS_UNIT = re.compile(r"(?:nm|å|\ba(?:ng\w*)?) ?\^?-1|1 ?/ ?(?:nm|å|a\b)")
_HEADING_LINES = 100  # last lines before the numbers in which names of columns are looked for
AXES = ("two_theta", "theta", "q", "s", "half_s", "s_squared", "d")


@dataclass
class ColumnName:
    """Name of a column: the text, the quantity that it names (or ""), and its unit (or "")."""

    text: str
    quantity: str = ""
    unit: str = ""

    @property
    def is_sure(self):
        """Whether the name alone shows the quantity; single letters without a unit do not."""
        return bool(self.quantity) and (len(self.text) > 1 or bool(self.unit))


def normalise(text):
    """Return text in lower case, with one spelling for superscripts, minus signs, Å, θ and λ."""
    text = unicodedata.normalize("NFKC", text).replace("−", "-").replace("–", "-").lower()
    text = text.replace("ϑ", "θ").replace("π", "pi").replace("2θ", "2θ").replace("·", "")
    return re.sub(r"\s+", " ", text).strip(" \"'")


def parse_name(text):
    """Return the `ColumnName` of a text such as "Pos. [°2Th.]", "q_nm^-1" or "E / keV"."""
    plain = normalise(text)
    match = _UNIT_IN_BRACKETS.match(plain)
    for stem, unit in ((plain, ""), match.groups() if match else (None, ""), *_stem_and_unit(plain)):
        if stem is None:
            continue
        known = next((name for name, pattern in _UNITS.items() if re.fullmatch(pattern, unit)), "")
        if unit and not known:
            continue
        for quantity, pattern in _STEMS.items():
            if pattern.fullmatch(stem) and _agrees(quantity, stem, known):
                return ColumnName(text, quantity, known)
    return ColumnName(text)


def _stem_and_unit(plain):
    match = _UNIT_AT_END.match(plain)
    return [match.groups()] if match else []


def _agrees(quantity, stem, unit):
    """Return whether a quantity can have a unit."""
    if quantity == "energy":
        return unit in ("eV", "keV") or (len(stem) > 1 and not unit)
    if stem == "" or (stem.startswith("pos") and not unit):
        return False
    allowed = {
        "two_theta": ("", "2θ", "deg", "rad", "mrad"),
        "theta": ("", "deg", "rad", "mrad"),
        "q": ("", "1/Å", "1/nm"),
        "s": ("", "1/Å", "1/nm"),
        "half_s": ("", "1/Å", "1/nm"),
        "s_squared": ("", "1/Å²", "1/nm²"),
        "d": ("", "Å", "nm", "pm"),
        "x": ("",),
    }
    return quantity not in allowed or unit in allowed[quantity]


def _strip_marks(line):
    """Return a line without the marks of comments at its start, and without the ``#L`` of SPEC."""
    return re.sub(r"^(?:#L\s|[\s#;!'*/%&])+", "", line)


def names_unit(preamble):
    """Return the first of the last lines of a preamble with a unit of reciprocal length, or None."""
    for line in preamble[-_LINES_OF_UNITS:]:
        if len(line) <= _LONGEST_HEADING and _AXIS_UNIT.search(normalise(line)):
            return line.strip()
    return None


def _splittings(line, separator):
    """Return the ways to split a heading into names of columns, the most likely first."""
    line = _strip_marks(line)
    ways = [
        [field for field in split_line(line, key) if field]
        for key in dict.fromkeys((separator, "\t", ";", ","))
        if key in SEPARATORS and key in (";", "\t", ",")
    ]
    ways.append([field for field in re.split(r"\s{2,}|\t", line.strip()) if field])
    joined = re.sub(r"\b(2|two)[ -](theta|th|θ)", r"\1\2", line.strip(), flags=re.IGNORECASE)
    joined = re.sub(r"\b(d|energy)[ -](spacing|values?|loss)", r"\1-\2", joined, flags=re.IGNORECASE)
    joined = re.sub(r"\s*/\s*", "/", joined)
    joined = re.sub(r"\s+(?=[\[(])", "", joined)
    ways.append([f for f in re.split(r"[,;]?\s+(?![^\[(]*[\])])", joined) if f])
    return ways


def find_names(preamble, n_columns, separator):
    """Return the names of the columns, from the last line of the preamble that names an axis.

    Parameters
    ----------
    preamble : list of str
        Lines before the numbers.
    n_columns : int
    separator : str
        What separates the numbers, a key of `SEPARATORS`.

    Returns
    -------
    list of ColumnName
        Empty if no line is a heading.
    """
    for line in reversed(preamble[-_HEADING_LINES:]):
        if len(line) > _LONGEST_HEADING:
            continue
        best = []
        for texts in _splittings(line, separator):
            if not 2 <= len(texts) <= n_columns or any(to_number(text) is not None for text in texts):
                continue
            names = [parse_name(text) for text in texts]
            known = sum(bool(name.quantity) for name in names)
            if any(a.quantity == b.quantity and a.quantity in AXES for a, b in pairwise(names)):
                continue  # one name in two words: 2-Theta Angle
            sure = any(n.is_sure and n.quantity in (*AXES, "energy") for n in names)
            full = len(texts) == n_columns and known >= 2
            if (sure or full) and known > sum(bool(name.quantity) for name in best):
                best = names
        if best:
            return best
        name = parse_name(_strip_marks(line))
        if name.is_sure and name.quantity in (*AXES, "energy") and (name.unit or len(name.text) > 4):
            return [name]
    return []


def choose_intensity(names, n_columns, axis):
    """Return the number of the column of intensities beside that of the axis, or None.

    Measured intensities come before other ones, and computed ones and uncertainties are left out. If no name
    is that of an intensity, it is the first column without a known name.
    """
    quantities = [name.quantity for name in names] + [""] * (n_columns - len(names))
    for wanted in ("observed", "intensity", "weak_intensity", ""):
        for i, quantity in enumerate(quantities):
            if quantity == wanted and i != axis:
                return i
    return None


def find_wavelength(lines):
    """Return the wavelength in Å that the lines of a heading give, or None.

    Without a unit, a number from 0.3 to 3 is in Å, and any other number is not used. Of several wavelengths,
    Kα1 is taken.
    """
    unit_line = next((normalise(line) for line in lines if re.search("WAVE_LENGTH_UNIT", line)), "")
    for line in map(normalise, (line for line in lines if len(line) <= _LONGEST_HEADING)):
        if "unit" in line:
            continue
        for match in _WAVELENGTH.finditer(line):
            before = line[: match.start()] + (match["which"] or "")
            if re.search(r"sin|(?:alpha|α|ka|k-a)_?\s?2|beta|β|ratio", before):
                continue
            value = float(match["value"].replace(",", "."))
            unit = match["unit"] or _unit_before(line[: match.start("value")])
            if unit is None and "angstrom" in unit_line:
                unit = "ang"
            if unit is None and not UNITLESS_WAVELENGTHS[0] <= value <= UNITLESS_WAVELENGTHS[1]:
                continue
            value *= _LENGTHS.get("ang" if unit and unit.startswith("ang") else unit, 1.0)
            if value > 0:
                return value
    return None


def _unit_before(text):
    """Return a unit in brackets before a number, as in "wavelength (nm) = 0.15406", or None."""
    match = re.search(r"[\[(/]\s*(å|ang\w*|nm|pm|a|m)\s*[\])]?\s*[=:;,\s]*$", text)
    return match[1] if match else None
