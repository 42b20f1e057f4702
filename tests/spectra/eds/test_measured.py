"""Compositions from measured X-ray spectra: standards of known composition, and a thin film."""

import re

import numpy as np
import pytest

from xtalsk.physics._depth import atomic_weights
from xtalsk.spectra import EDSComposition
from xtalsk.utils._formula import SYMBOLS

CARBON, OXYGEN = 5, 7  # columns


def nominal(path):
    """Return the atomic fractions in the header of a standard, or None if it has none."""
    header = path.read_text(encoding="latin-1")
    composition = re.search(r"^##D2STDCMP\s*:(.*)$", header, re.MULTILINE)
    if composition is None:
        return None
    mass = np.zeros(len(SYMBOLS))
    for symbol, percent in re.findall(r"\((\w+):([\d.]+)\)", composition[1]):
        mass[SYMBOLS.index(symbol)] = float(percent)
    atoms = mass / atomic_weights().numpy()
    return atoms / atoms.sum()


@pytest.fixture(scope="module")
def standards(measured_data):
    """Measured and nominal fractions, one row for each standard."""
    paths = sorted((measured_data / "eds").rglob("*.msa"))
    truths = {str(path): nominal(path) for path in paths}
    truths = {path: truth for path, truth in truths.items() if truth is not None}
    assert len(truths) > 20
    return EDSComposition(exclude=("C",)).fit_transform(list(truths)), np.array(list(truths.values()))


def test_all_elements_of_the_standards_are_found(standards):
    found, truth = standards
    missed = (truth >= 0.01) & ~(found > 0)
    assert not missed[:, CARBON:].any(), [SYMBOLS[i] for i in np.nonzero(missed)[1]]


def test_amounts_of_compounds_and_glasses(standards):
    found, truth = standards
    for row, expected in zip(found, truth, strict=True):
        present = expected > 0
        if present.sum() > 1:
            assert np.abs(np.nan_to_num(row) - expected)[present].mean() <= 0.04
    compounds = (truth > 0).sum(1) > 1
    error = np.abs(np.nan_to_num(found) - truth)[compounds]
    assert error[truth[compounds] > 0].mean() < 0.02


def test_hardly_any_element_of_the_standards_is_wrong(standards):
    """The standards are coated with carbon, and metals are oxidised at the surface."""
    found, truth = standards
    wrong = (truth == 0) & (found > 0)
    metal = (truth > 0).sum(1) == 1
    wrong[metal, OXYGEN] = False
    assert wrong.sum() <= 0.3 * len(wrong)
    assert np.nanmax(found[wrong], initial=0) < 0.1


def test_a_film_of_strontium_titanate(shared_data):
    pytest.importorskip("rsciio")
    path = str(shared_data / "tem" / "EDS-STO.emd")
    row = EDSComposition(exclude=("C", "Cu")).fit_transform([path])[0]
    found = np.flatnonzero(row > 0)
    assert {SYMBOLS[i] for i in found} == {"Sr", "Ti", "O"}
    fractions = [row[SYMBOLS.index(symbol)] for symbol in ("Sr", "Ti", "O")]
    np.testing.assert_allclose(fractions, [0.2, 0.2, 0.6], atol=0.06)
