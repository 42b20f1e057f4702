"""The space group that a CIF entry states: operations, symbol, Hall symbol, number."""

import re
from dataclasses import dataclass, field

import gemmi

from xtalsk.crystals._constants import DOUBTFUL_MISFIT, MAX_MISFIT
from xtalsk.crystals._gemmi import cell_parameters
from xtalsk.crystals._settings import setting_of_group, setting_of_hall, setting_of_triplets
from xtalsk.crystals._space_group_symbols import (
    all_settings_of_number,
    settings_of_number,
    settings_of_symbol,
    without_changed_axes,
)

_SYMBOL_TAGS = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_full",
    "_space_group_name_H-M_ref",
    "_space_group_name_H-M",
    "_space_group_name_Schoenflies",
)
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_CHOICE_TAGS = ("_space_group_IT_coordinate_system_code",)
_MAGNETIC_OPERATIONS = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_operation.xyz")
_MAGNETIC_CENTRINGS = ("_space_group_symop_magn_centering_xyz", "_space_group_symop_magn_centering.xyz")
_TIME_REVERSAL = re.compile(r"^(.*,.*,[^,]*),\s*[+-]?1\s*$")


@dataclass
class StatedSymmetry:
    """Settings that an entry may mean, the preferred one first.

    Parameters
    ----------
    settings : list of Setting
        They fit the cell.
    doubts : list of str
        Contradictions between the statements.
    disagreement : str
        How operations and symbol disagree; empty where they agree. A choice among the settings settles it.
    """

    settings: list
    doubts: list = field(default_factory=list)
    disagreement: str = ""


@dataclass
class _Names:
    """Space groups that the names of an entry mean: label, number and gemmi groups of each, in order."""

    entries: list = field(default_factory=list)
    unknown: list = field(default_factory=list)

    @property
    def numbers(self):
        return {group.number for _, groups in self.entries for group in groups}


def stated_symmetry(block, small, lattice):
    """`StatedSymmetry` of a block.

    Parameters
    ----------
    block : gemmi.cif.Block
    small : gemmi.SmallStructure
        Made from the block.
    lattice : ndarray of shape (3, 3)
        Lattice vectors as rows, in Å.

    Raises
    ------
    ValueError
        If the operations form no group or no stated group fits the cell, or the statements disagree without
        operations, or a space group is unknown.
    """
    triplets = _operations(block, small)
    halls = [t for tag in _HALL_TAGS if (t := _text(block, tag))]
    names = _names(block, bool(triplets))
    if triplets:
        return _with_operations(setting_of_triplets(triplets), names, halls, lattice)
    return _without_operations(block, names, halls, lattice)


def _text(block, tag):
    value = block.find_value(tag)
    if value in (None, "?", "."):
        return None
    return gemmi.cif.as_string(value).strip() or None


def _operations(block, small):
    """Operations of a block as a tuple of triplets, magnetic ones without time reversal."""
    if small.symops:
        return tuple(small.symops)
    if len(block.find_values("_space_group_symop_ssg_operation_algebraic")):
        raise ValueError(
            "it is modulated (operations of superspace); expected a crystal periodic in three axes"
        )
    operations = [_in_space(t) for tag in _MAGNETIC_OPERATIONS for t in block.find_values(tag)]
    centrings = [_in_space(t) for tag in _MAGNETIC_CENTRINGS for t in block.find_values(tag)]
    if not centrings:
        return tuple(operations)
    try:
        products = [gemmi.Op(c) * gemmi.Op(o) for c in centrings for o in operations or ["x,y,z"]]
    except RuntimeError as error:
        raise ValueError(f"its magnetic operations are not readable: {error}") from error
    return tuple(dict.fromkeys(op.wrap().triplet() for op in products))


def _in_space(text):
    """Triplet of a magnetic operation ``x,y,z,+1``, without time reversal."""
    text = gemmi.cif.as_string(text).replace("mx", "x") if "mx" in text else gemmi.cif.as_string(text)
    match = _TIME_REVERSAL.match(text)
    return match[1] if match else text


def _names(block, has_operations):
    """`_Names` of the symbols and numbers of a block; a change of axes does not matter beside operations."""
    names = _Names()
    choice = next((c for tag in _CHOICE_TAGS if (c := _text(block, tag))), "").upper()
    for tag in _SYMBOL_TAGS:
        if not (symbol := _text(block, tag)):
            continue
        groups = settings_of_symbol(without_changed_axes(symbol) if has_operations else symbol)
        groups = [g for g in groups if g.ext == choice] or groups
        if groups:
            names.entries.append((f"symbol {symbol!r}", groups))
        else:
            names.unknown.append(f"symbol {symbol!r}")
    for tag in _NUMBER_TAGS:
        if not (text := _text(block, tag)):
            continue
        number = gemmi.cif.as_number(text)
        groups = settings_of_number(int(number)) if 1 <= number <= 230 and number == int(number) else []
        groups = [g for g in groups if g.ext == choice] or groups
        (names.entries if groups else names.unknown).append(
            (f"number {int(number)}", groups) if groups else f"number {text!r}"
        )
    return names


def _cell_text(lattice):
    """Cell parameters of a lattice (3, 3), in Å and degrees."""
    return "(" + ", ".join(f"{v:.5g}" for v in cell_parameters(lattice[None])[0]) + ")"


def _fitting(groups, lattice):
    """List the settings of gemmi groups that fit a lattice."""
    settings = [setting_of_group(g) for g in groups]
    return [s for s in settings if s.misfit(lattice) < MAX_MISFIT]


def _misfit_doubts(setting, lattice, misfit):
    """List the doubt about a cell that fits a setting roughly; empty where it fits."""
    if misfit < DOUBTFUL_MISFIT:
        return []
    cell, number = _cell_text(lattice), setting.number
    return [f"its cell {cell} deviates from space group {number} by {100 * misfit:.1f}% of the metric"]


def _with_operations(listed, names, halls, lattice):
    """`StatedSymmetry` of an entry that lists operations."""
    misfit = listed.misfit(lattice)
    if misfit >= MAX_MISFIT:
        raise ValueError(
            f"its symmetry operations (space group {listed.number or 'unknown'}) do not fit its cell "
            f"{_cell_text(lattice)}; expected the axes and angles of that group"
        )
    doubts = [f"its {name} is not known; its operations were used" for name in names.unknown]
    doubts += _misfit_doubts(listed, lattice, misfit)
    others, labels = [], []
    for label, groups in _all_names(names, halls, doubts):
        if listed.number and listed.number not in {g.number for g in groups}:
            labels.append(f"its {label} means {groups[0].number}")
            others += [s for s in _fitting(groups, lattice) if s.number not in {o.number for o in others}
                       or not any(o.keys == s.keys for o in others)]  # fmt: skip
    if not labels:
        return StatedSymmetry([listed], doubts)
    disagreement = f"its {len(listed)} operations give space group {listed.number}, {' and '.join(labels)}"
    return StatedSymmetry([listed, *others], doubts, disagreement)


def _all_names(names, halls, doubts):
    """Label and groups of all names, with those of readable Hall symbols."""
    entries = list(names.entries)
    for hall in halls:
        try:
            setting = setting_of_hall(hall, f"Hall {hall}")
        except ValueError as error:
            doubts.append(str(error))
            continue
        if setting.number:
            entries.append((f"Hall symbol {hall!r}", all_settings_of_number(setting.number)[:1]))
    return entries


def _without_operations(block, names, halls, lattice):
    """`StatedSymmetry` of an entry that names its space group only."""
    doubts = []
    exact = []
    for hall in halls:
        try:
            exact.append(setting_of_hall(hall, f"Hall symbol {hall!r}"))
        except ValueError as error:
            doubts.append(str(error))
    if not exact and not names.entries:
        if names.unknown or doubts:
            raise ValueError(
                f"unknown space group: {', '.join(names.unknown + doubts)}; it lists no operations"
            )
        identity = setting_of_triplets(("x,y,z",))
        return StatedSymmetry(
            [identity], ["it states no space group; its atoms were taken for the whole cell"]
        )
    doubts += [f"its {name} is not known" for name in names.unknown]
    stated = {f"its Hall symbol means {s.number}": {s.number} for s in exact if s.number}
    stated |= {
        f"its {label} means {groups[0].number}": {g.number for g in groups} for label, groups in names.entries
    }
    settings = [s for s in exact if s.misfit(lattice) < MAX_MISFIT]
    agree = bool(set.intersection(*stated.values())) if stated else True
    if not settings or not agree:
        settings += _named_settings(names, settings, lattice, doubts)
    if not settings:
        settings = exact[:1] or [setting_of_group(names.entries[0][1][0])]
        doubts.append(f"its cell {_cell_text(lattice)} does not fit its space group: {', '.join(stated)}")
        return StatedSymmetry(settings, doubts)
    doubts += _misfit_doubts(settings[0], lattice, settings[0].misfit(lattice))
    return StatedSymmetry(settings, doubts, "" if agree else ", ".join(stated))


def _named_settings(names, known, lattice, doubts):
    """List the settings of the names that fit a lattice; other axes of the group where none does."""
    settings, seen = [], [s.keys for s in known]
    agreed = set.intersection(*({g.number for g in groups} for _, groups in names.entries))
    by_detail = sorted(names.entries, key=lambda e: (e[0].startswith("number"), len(e[1])))
    for label, groups in by_detail:
        fitting = _fitting([g for g in groups if g.number in agreed] or groups, lattice)
        if not fitting and agreed:
            others = [
                g for g in all_settings_of_number(groups[0].number) if g.ext in "HR" or "number" in label
            ]
            fitting = _fitting(others, lattice)[:1]
            if fitting and "number" not in label:
                doubts.append(f"its cell {_cell_text(lattice)} fits {fitting[0].name!r}, not its {label}")
        if fitting and fitting[0].number <= 15:
            fitting = fitting[:1]  # the first unique axis that fits
        for setting in fitting:
            if setting.keys not in seen:
                settings.append(setting)
                seen.append(setting.keys)
        if fitting and agreed:
            break
    return settings
