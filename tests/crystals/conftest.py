"""CIF texts of known crystals."""

import warnings

import pytest

from xtalsk.crystals import BrokenEntryWarning, CrystalSet

_TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def _cif(cell, sites, columns="label fract_x fract_y fract_z", lines="", operations=()):
    cell = cell if len(cell) == 6 else (cell[0], cell[0], cell[0], 90, 90, 90)
    text = "data_test\n" + "".join(f"_cell_{tag} {value}\n" for tag, value in zip(_TAGS, cell, strict=True))
    text += lines + "\n"
    if operations:
        text += "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{op}'\n" for op in operations)
    return text + "loop_\n" + "".join(f"_atom_site_{c}\n" for c in columns.split()) + sites + "\n"


@pytest.fixture
def cif():
    """Text of a CIF: cell (6 or 1 numbers), sites, columns of the sites, other lines, operations."""
    return _cif


@pytest.fixture
def read():
    """Read CIF text and return the crystals and the doubts about them."""

    def read_text(source):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            crystals = CrystalSet.from_cifs(source)
        reports = [w.message for w in record if isinstance(w.message, BrokenEntryWarning)]
        assert all(report.is_kept for report in reports), str(reports[0])
        return crystals, "\n".join(map(str, reports))

    return read_text
