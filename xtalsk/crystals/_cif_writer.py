"""CIF text of crystals: the asymmetric unit and the symmetry operations in the axes of the crystal."""

import re
from pathlib import Path

import gemmi
import numpy as np
import spglib

from xtalsk.crystals._constants import SAME_POSITION_DECIMALS, WRITTEN_SYMPREC
from xtalsk.crystals._formulas import formula_of
from xtalsk.crystals._gemmi import cell_parameters
from xtalsk.crystals._orbits import orbit_origins, site_symmetry
from xtalsk.crystals._symmetry_search import find_operations, group_by_position
from xtalsk.utils._container import open_new

_UNSAFE = re.compile(r"[^\w.+-]+", re.ASCII)
_ELEMENT = re.compile(r"([A-Z][a-z]?)([\d.]*)")
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_SITE = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv")


def cif_text(crystal):
    """Return the CIF text of a `CrystalSet` of one crystal; see `CrystalSet.to_cif`."""
    operations, atoms, coords = _asymmetric_unit(crystal)
    block = gemmi.cif.Document().add_new_block(_UNSAFE.sub("_", crystal.ids[0]) or "crystal")
    if crystal.names[0]:
        block.set_pair("_chemical_name_common", gemmi.cif.quote(crystal.names[0]))
    formula = _ELEMENT.findall(formula_of(crystal.atomic_numbers, crystal.occupancies))
    block.set_pair("_chemical_formula_sum", gemmi.cif.quote(" ".join(s + (n or "1") for s, n in formula)))
    for tag, value in zip(_CELL, cell_parameters(crystal.lattices)[0], strict=True):
        block.set_pair(f"_cell_{tag}", _number(value, 6))
    group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    if group is not None:  # the axes are those of a tabulated setting
        block.set_pair("_space_group_IT_number", str(group.number))
        block.set_pair("_space_group_name_H-M_alt", gemmi.cif.quote(group.xhm()))
    loop = block.init_loop("_space_group_symop_", ["operation_xyz"])
    for operation in operations:
        loop.add_row([gemmi.cif.quote(operation.triplet())])
    loop = block.init_loop("_atom_site_", list(_SITE))
    for number, (atom, place) in enumerate(zip(atoms, coords, strict=True), start=1):
        symbol = gemmi.Element(int(crystal.atomic_numbers[atom])).name
        values = *place, crystal.occupancies[atom], crystal.u_iso[atom]
        loop.add_row([f"{symbol}{number}", symbol, *(_number(value, 8) for value in values)])
    return block.as_string()


def write_cifs(crystals, folder):
    """Write each crystal to a file of its own; see `CrystalSet.to_cifs`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths, taken = [], set()
    for i, name in enumerate(crystals.ids):
        stem = _UNSAFE.sub("_", name.removesuffix(".cif")) or "crystal"
        while stem.lower() in taken:  # some file systems ignore the case
            stem = f"{stem}_{i}"
        taken.add(stem.lower())
        paths.append(folder / f"{stem}.cif")
        with open_new(paths[-1]) as file:
            file.write(crystals.to_cif(i).encode())
    return paths


def _number(value, decimals):
    """Return a number as CIF text, ``"?"`` for NaN."""
    return "?" if np.isnan(value) else f"{value:.{decimals}f}".rstrip("0").rstrip(".")


def _asymmetric_unit(crystal):
    """Return symmetry operations, the atoms that they do not give from others, and their coordinates.

    Of the operations that spglib finds, those count whose rotations the point group of the crystal has. Where
    these do not make its space group, have translations that are no multiples of 1/24, or join atoms of
    different displacement, the identity and all atoms are returned.
    """
    everything = [gemmi.Op("x,y,z")], range(len(crystal.atomic_numbers)), crystal.frac_coords
    arrays = crystal.atomic_numbers, crystal.frac_coords, crystal.occupancies
    found = find_operations(crystal.lattices[0], *arrays, WRITTEN_SYMPREC)
    if found is None:
        return everything
    own = {rotation.tobytes() for rotation in crystal.rotation_sets[crystal.rotation_index[0]]}
    is_own = [rotation.astype(np.int8).tobytes() in own for rotation in found.rotations]
    rotations, translations = found.rotations[is_own], found.translations[is_own]
    group = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    if group is None or group.number != crystal.space_groups[0]:
        return everything
    rounding = (translations - np.round(translations * gemmi.Op.DEN) / gemmi.Op.DEN) @ crystal.lattices[0]
    if (np.linalg.norm(rounding, axis=1) > WRITTEN_SYMPREC).any():  # the origin is at no point of the grid
        return everything
    positions = group_by_position(crystal.frac_coords, SAME_POSITION_DECIMALS["symmetry"])
    origins = orbit_origins(crystal.frac_coords[[p[0] for p in positions]], rotations, translations)
    for position, origin in enumerate(origins):
        u = [np.sort(crystal.u_iso[positions[k]]) for k in (position, origin)]
        if not np.allclose(*u, rtol=1e-3, equal_nan=True):
            return everything
    unit = [atom for position in np.unique(origins) for atom in positions[position]]
    coords, _ = site_symmetry(crystal.frac_coords[unit], rotations, translations, crystal.lattices[0])
    return [_operation(*parts) for parts in zip(rotations, translations, strict=True)], unit, coords


def _operation(rotation, translation):
    """Return a symmetry operation as one of gemmi."""
    operation = gemmi.Op()
    operation.rot = (rotation * gemmi.Op.DEN).tolist()
    operation.tran = (np.round(translation * gemmi.Op.DEN).astype(int) % gemmi.Op.DEN).tolist()
    return operation
