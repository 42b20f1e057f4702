"""Conditions, Poisson counts and electron wavelengths."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.stats import loguniform
from scipy.stats import poisson as poisson_distribution

from xtalsk.simulation import (
    Detector,
    EDSConditions,
    EELSConditions,
    Export,
    PowderConditions,
    RingConditions,
    Sometimes,
    SpotConditions,
    camera_pixel_size,
    electron_wavelength,
)
from xtalsk.simulation._chunks import Counts
from xtalsk.simulation._counting import poisson

KINDS = [Detector, Export, EDSConditions, EELSConditions, PowderConditions, RingConditions, SpotConditions]


def test_values_and_distributions():
    conditions = RingConditions(
        electrons=loguniform(1e3, 1e5),
        eta=0.3,
        ring_width=(0.01, 0.02),
        march_parameter=Sometimes(0.3, 0.5, 1.0),
    )
    values = conditions.draw(4000, random_state=0)
    assert (values.eta == 0.3).all()
    assert values.ring_width.between(0.01, 0.02).all()
    assert abs(values.ring_width.mean() - 0.015) < 2e-4
    assert abs(np.log10(values.electrons).mean() - 4) < 0.05
    assert set(values.march_parameter) == {0.5, 1.0}
    assert abs((values.march_parameter == 0.5).mean() - 0.3) < 0.03
    assert "blur" in values  # of the detector
    assert not {"image_size", "q_max"} & set(values)
    again = conditions.draw(4000, random_state=0)
    assert values.equals(again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["ideal", "typical", "harsh", "measured"])
def test_repr_of_presets_is_code(kind, preset):
    """The repr of conditions, evaluated, makes equal conditions."""
    import scipy.stats

    conditions = getattr(kind, preset)()
    values = conditions.draw(200, 0)
    assert not values.isna().any().any()
    names = {"inf": np.inf, "Sometimes": Sometimes} | {k.__name__: k for k in KINDS}
    names |= {name: getattr(scipy.stats, name) for name in ("loguniform", "lognorm", "norm")}
    again = eval(repr(conditions), {"__builtins__": {}}, names)
    assert again.draw(200, 0).equals(values)
    assert all(field.name in repr(conditions) for field in fields(kind))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RingConditions(eta=(0.5, 0.2)), "eta must be a number, an ordered pair"),
        (lambda: RingConditions(eta=np.nan), "eta must be a number"),
        (lambda: RingConditions(eta=[1, 2, 3]), "eta must be a number"),
        (lambda: RingConditions(detector=Detector(gain=-1)), "gain must be above 0"),
        (lambda: Sometimes(1.5, 1), "probability must be from 0 to 1"),
        (lambda: Sometimes("often", 1), "probability must be from 0 to 1, got 'often'"),
        (lambda: Sometimes(0.5, 1, otherwise="none"), "otherwise must be a number, got 'none'"),
        (lambda: PowderConditions(two_theta=(90, 5, 0.02)), "start, stop, step"),
        (lambda: PowderConditions(two_theta=(5, 190, 0.02)), "within 0 to 180 degrees"),
        (lambda: PowderConditions(two_theta=5), "start, stop, step"),
        (lambda: PowderConditions(peak_counts=0), "peak_counts must be above 0"),
        (lambda: PowderConditions(wavelength=0), "wavelength must be a positive"),
        (lambda: SpotConditions(zone_axis="up"), "zone_axis must be"),
        (lambda: SpotConditions(zone_axis=(0, 0, 0)), "zone_axis must be"),
        (lambda: SpotConditions(thickness_angstrom=0), "thickness_angstrom must be at least"),
        (lambda: electron_wavelength(-1), "beam_energy must be"),
        (lambda: camera_pixel_size(200, 0, 55), "camera_length must be"),
    ],
)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wavelengths_are_those_tabulated():
    """International Tables C, table 4.3.2.1."""
    tabulated = {40: 0.06016, 100: 0.03701, 200: 0.02508, 300: 0.01969, 1000: 0.00872}
    for energy, wavelength in tabulated.items():
        assert electron_wavelength(energy) == pytest.approx(wavelength, abs=1.1e-5)


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.37, 5.0, 15.9, 17.0, 60.0])
def test_counts_are_poisson(rate):
    n = 400_000
    generator = torch.Generator().manual_seed(0)
    counts = poisson(torch.full((n,), rate), generator).numpy().astype(int)
    expected = poisson_distribution(rate)
    assert abs(counts.mean() - rate) < 4 * np.sqrt(rate / n) + 1e-4
    assert abs(counts.var() / rate - 1) < (0.06 if rate < 0.1 else 0.012)
    share = np.bincount(counts, minlength=120)[:120] / n
    assert np.abs(share - expected.pmf(np.arange(120))).max() < 4 * np.sqrt(0.25 / n)


def test_counts_of_mixed_rates_keep_their_order():
    rates = torch.tensor([0.0, 2.0, 1e6, 0.0, 40.0] * 10_000)
    counts = poisson(rates, torch.Generator().manual_seed(1)).view(-1, 5)
    assert (counts[:, [0, 3]] == 0).all()
    assert abs(counts[:, 2] - 1e6).max() < 6e3
    np.testing.assert_allclose(counts.double().mean(0), [0, 2, 1e6, 0, 40], rtol=0.03)
    mostly_high = torch.full((50, 100), 200.0)
    mostly_high[:, 0] = 0.5
    counts = poisson(mostly_high, torch.Generator().manual_seed(1))
    assert counts[:, 0].max() < 6
    assert counts[:, 1:].min() > 100


def test_counts_of_chunks_widen_as_needed():
    counts = Counts(5)
    counts.add(torch.tensor([[1.0, 65535.0], [0.0, 7.0]]))
    assert counts.values.dtype == np.uint16
    counts.add(torch.tensor([[70000.0, 2.0]]))
    assert counts.values.dtype == np.uint32
    counts.add(torch.tensor([[5e9, 3.0], [4.0, 1.0]], dtype=torch.float64))
    assert counts.values.dtype == np.float64
    assert counts.values.tolist() == [[1, 65535], [0, 7], [70000, 2], [5e9, 3], [4, 1]]
