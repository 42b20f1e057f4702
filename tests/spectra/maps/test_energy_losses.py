from dataclasses import replace

import numpy as np
import pytest

from xtalsk.simulation import EELSConditions, simulate_eels
from xtalsk.spectra import EELSComposition, map_compositions
from xtalsk.spectra.maps._eels_shapes import EELSShapes

PHASES, EXPONENTS = ("FeO", "TiO2", "BN"), (2.7, 3.0, 3.3)
TRUE = {"O": 1 / 2, "Fe": 1 / 2}, {"O": 2 / 3, "Ti": 1 / 3}, {"B": 1 / 2, "N": 1 / 2}
ANALYSIS = EELSComposition(beam_energy=200, convergence_angle=5, collection_angle=20)


@pytest.fixture(scope="module")
def losses():
    conditions = replace(EELSConditions.ideal(), energy=(150.0, 1173.0, 1.0), counts=1e8)
    rates = [
        simulate_eels(PHASES, conditions=replace(conditions, exponent=exponent), random_state=0)
        for exponent in EXPONENTS
    ]
    rates = np.array(rates, dtype=float)
    rng = np.random.default_rng(0)
    phase = np.repeat([0, 1], 20)[None].repeat(40, 0)
    phase[rng.uniform(size=phase.shape) < 0.02] = 2
    rate = rates[rng.integers(3, size=phase.shape), phase]
    counts = 3.0 * rng.poisson(2e4 * rate / rate.sum(-1, keepdims=True)) + rng.normal(0, 2, rate.shape)
    return counts, phase, conditions.axis()


def test_map_of_energy_losses(losses, monkeypatch):
    counts, phase, energy = losses
    noise, learn = [], EELSShapes.learn_noise

    def listen(self, *arguments):
        learn(self, *arguments)
        noise.append((self.gain, self.noise.readout / self._size))

    monkeypatch.setattr(EELSShapes, "learn_noise", listen)
    compositions = map_compositions(ANALYSIS, counts, energy=energy, random_state=0)
    assert compositions.elements == ["B", "N", "O", "Ti", "Fe"]
    gain, readout = noise[-1]
    assert gain == pytest.approx(3, rel=0.1)
    assert 0 < readout[0] < 10
    assert np.isnan(compositions.all_fractions()[:, :2]).all()  # hydrogen and helium
    within = []
    for k, true in enumerate(TRUE):
        columns = [compositions.elements.index(symbol) for symbol in true]
        own, error = compositions.fractions[phase == k], compositions.uncertainty[phase == k]
        assert np.delete(own, columns, 1).mean() < 0.03
        mean = own.mean(0)[columns]  # cross-sections and shapes have errors of their own
        np.testing.assert_allclose(mean, list(true.values()), atol=0.08)
        within.append((np.abs(own[:, columns] - mean) <= error[:, columns]).ravel())
    assert 0.6 < np.mean(np.concatenate(within)) < 0.78


def test_windows_without_core_losses(losses):
    with pytest.raises(ValueError, match="no core losses"):
        map_compositions(ANALYSIS, losses[0][:3, :3, :100], energy=np.arange(100) * 0.3 - 5)
