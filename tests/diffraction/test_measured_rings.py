"""The geometry of a measured pattern, and of patterns from the simulator of the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xtalsk.crystals import CrystalSet
from xtalsk.diffraction import RadialProfile, locate_peaks
from xtalsk.diffraction._geometry import find_geometry
from xtalsk.io import read_image
from xtalsk.simulation import RingConditions, compute_reflections, simulate_rings


@pytest.fixture
def bismuth():
    """A textured film, off centre by a tenth of the width, behind a beam stop, on a dark level of -100."""
    skued = pytest.importorskip("skued")
    pytest.importorskip("rsciio")
    path = Path(skued.__file__).parent / "io" / "tests" / "data" / "bismuth.dm3"
    if not path.exists():
        pytest.skip("this scikit-ued comes without its test data")
    return read_image(path, pixel_size=0.01133)


def test_rings_of_bismuth_stand_in_their_proportions(bismuth):
    """The strong rings are 110, 300, 220 and 410 of the hexagonal cell: q in proportion 1 : √3 : 2 : √7."""
    transformer = RadialProfile(1024, (0.15, 1.5)).fit([None])
    q, prominence = locate_peaks(transformer.q_, transformer.transform([bismuth])[0])
    strong = q[prominence > 0.4]
    np.testing.assert_allclose(strong / strong[0], np.sqrt([1, 3, 4, 7]), rtol=0.003)


def test_stop_of_bismuth_is_masked(bismuth):
    image = torch.from_numpy(bismuth.data.astype(np.float32))[None]
    geometry = find_geometry(image, torch.ones_like(image, dtype=torch.bool))
    valid = geometry.valid[0].numpy()
    assert not valid[10:140, 96:103].any()  # the arm
    assert valid[:, 130:].mean() > 0.99
    np.testing.assert_allclose(geometry.center[0].numpy(), (141.6, 99.2), atol=0.5)


@pytest.mark.parametrize("beam_stop", [0.0, 1.0])
def test_simulated_centers_are_found(beam_stop):
    from pymatgen.core import Lattice, Structure

    gold = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.078), ["Au"], [[0, 0, 0]])
    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    table = compute_reflections(CrystalSet.from_pymatgen([gold, rutile]), "electron", d_min=0.7)
    images, conditions = simulate_rings(
        table,
        [0, 1] * 6,
        RingConditions(image_size=128, beam_stop=beam_stop, off_center=0.1),
        random_state=0,
        return_conditions=True,
    )
    images = torch.from_numpy(images.astype(np.float32))
    geometry = find_geometry(images, torch.ones_like(images, dtype=torch.bool))
    true = conditions[["center_row", "center_column"]].to_numpy()
    error = np.hypot(*(geometry.center.numpy() - true).T)
    assert np.median(error) < 0.05
    assert error.max() < 0.3
    ellipticity = 2 * geometry.ellipticity.norm(dim=1).numpy()
    np.testing.assert_allclose(ellipticity, conditions.ellipticity, atol=0.005)
