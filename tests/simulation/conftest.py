import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from xtalsk.crystals import CrystalSet
from xtalsk.datasets import load_amcsd
from xtalsk.simulation import compute_reflections

WAVELENGTH = 1.540593


@pytest.fixture(scope="session")
def amcsd():
    return load_amcsd()


@pytest.fixture(scope="session")
def sixty(amcsd):
    """Sixty structures spread in cell volume, up to 4,000 Å³."""
    order = np.argsort(amcsd.volumes)
    order = order[amcsd.volumes[order] < 4000]
    return amcsd[order[np.linspace(0, len(order) - 1, 60).astype(int)]]


@pytest.fixture(scope="session")
def gold():
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    return CrystalSet.from_pymatgen([structure])


@pytest.fixture(scope="session")
def gold_electron(gold):
    return compute_reflections(gold, "electron", 0.7)


@pytest.fixture(scope="session")
def gold_xray(gold):
    return compute_reflections(gold, "xray", 1.05, wavelength=WAVELENGTH)


@pytest.fixture(scope="session")
def rutile():
    structure = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    return CrystalSet.from_pymatgen([structure])
