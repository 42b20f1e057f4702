"""A simulated spectrum image of three phases, one of them rare."""

import numpy as np
import pytest

from xtalsk.simulation import EDSConditions, simulate_eds
from xtalsk.utils._formula import parse_formula

PHASES = ("Mg2SiO4", "FeTiO3", "ZrSiO4")


class Scene:
    """Counts of X-rays, with the phase of each pixel."""

    def __init__(self, size, dose, seed=0):
        conditions = EDSConditions.ideal()
        rates = np.asarray(simulate_eds(PHASES, conditions="ideal", random_state=0), dtype=float)
        self.rates = rates / rates.sum(1, keepdims=True)
        rng = np.random.default_rng(seed)
        self.phase = np.repeat([0, 1], [size // 2, size - size // 2])[None].repeat(size, 0)
        self.phase[rng.uniform(size=self.phase.shape) < 0.01] = 2
        self.counts = rng.poisson(self.rates[self.phase] * dose).astype(np.uint16)
        self.energy = conditions.axis()
        self.true = np.array([parse_formula(phase) for phase in PHASES])


@pytest.fixture(scope="session")
def scene():
    return Scene(56, 60)
