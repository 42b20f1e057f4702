"""Powder diffraction profiles."""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from xtalsk.simulation._profiles import (
    broaden,
    check_rows,
    deposit,
    draw,
    gather_lines,
    make_generators,
    to_counts,
)

_PATTERNS_PER_CHUNK = 16


def powder(
    reflections,
    rows=None,
    *,
    two_theta=(5.0, 90.0, 0.02),
    wavelength=1.5406,
    fwhm=(0.08, 0.25),
    eta=(0.3, 0.8),
    zero_shift=(-0.05, 0.05),
    background=(0.01, 0.1),
    peak_counts=(1e3, 1e4),
    random_state=None,
    return_conditions=False,
    verbose=0,
):
    """Render X-ray powder patterns as a flat-plate diffractometer records them.

    Lines carry the Lorentz-polarisation factor without monochromator, (1 + cos² 2θ) / (sin² θ cos θ) (Int.
    Tables C, 6.2), and a pseudo-Voigt shape of one width a pattern. The background falls off from low
    angles and has one amorphous hump; counts are Poisson distributed. A pair ``(low, high)`` is drawn
    uniformly for each pattern.

    Parameters
    ----------
    reflections : Reflections
        Of X-rays, to a ``d_min`` of at most λ / (2 sin θ) of the highest angle.
    rows : array-like of int or None
        The crystal of each pattern, repeats allowed; by default each crystal once.
    two_theta : (start, stop, step)
        Axis in degrees; the stop is included where it falls on a step.
    wavelength : float
        In Å.
    fwhm : float or (low, high)
        Full width at half maximum in degrees.
    eta : float or (low, high)
        Lorentzian share of the pseudo-Voigt function.
    zero_shift : float or (low, high)
        Added to every angle, in degrees.
    background : float or (low, high)
        Mean background as a fraction of the strongest point.
    peak_counts : float or (low, high)
        Expected counts above background at the strongest point.
    random_state : int, RandomState or None
    return_conditions : bool
        Whether to return what was drawn too.
    verbose : int
        Above 0 shows a progress bar.

    Returns
    -------
    counts : ndarray of unsigned int, shape (n_patterns, n_points)
    conditions : DataFrame of n_patterns rows
        Only with ``return_conditions=True``.

    Raises
    ------
    ValueError
        If the reflections do not reach the highest angle, a crystal has no line in range, or an argument is
        out of range.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from xtalsk.crystals import CrystalSet
    >>> from xtalsk.simulation import powder, reflections
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    >>> r = reflections(CrystalSet.from_pymatgen([salt]), "xray", d_min=1.0, wavelength=1.5406)
    >>> counts = powder(r, two_theta=(10, 90, 0.05), random_state=0)
    >>> counts.shape, int(counts[0].argmax() * 0.05 + 10)
    ((1, 1601), 31)
    """
    rows = check_rows(rows, len(reflections))
    axis = _check_axis(two_theta)
    _check_reach(reflections, wavelength, axis[-1])
    rng, generator = make_generators(random_state, reflections.q.device)
    n = len(rows)
    conditions = pd.DataFrame(
        {
            "fwhm": draw("fwhm", fwhm, n, rng),
            "eta": draw("eta", eta, n, rng),
            "zero_shift": draw("zero_shift", zero_shift, n, rng),
            "background": draw("background", background, n, rng),
            "background_decay": rng.uniform(10.0, 60.0, n),
            "hump_position": rng.uniform(15.0, 35.0, n),
            "hump_share": rng.uniform(0.0, 0.5, n),
            "peak_counts": draw("peak_counts", peak_counts, n, rng),
        }
    )
    if (
        (conditions.fwhm <= 0).any()
        or (conditions.background < 0).any()
        or (conditions.peak_counts < 0).any()
    ):
        raise ValueError("fwhm must be positive, background and peak_counts must not be negative")
    batches = []
    starts = range(0, n, _PATTERNS_PER_CHUNK)
    for start in tqdm(starts, desc="powder patterns", disable=not verbose):
        part = slice(start, start + _PATTERNS_PER_CHUNK)
        rates = _rates(reflections, rows[part], conditions[part], axis, wavelength)
        batches.append(torch.poisson(rates, generator=generator))
    counts = to_counts(batches)
    return (counts, conditions) if return_conditions else counts


def _check_axis(two_theta):
    try:
        start, stop, step = (float(v) for v in two_theta)
    except (TypeError, ValueError):
        raise ValueError(f"two_theta must be (start, stop, step) in degrees, got {two_theta!r}") from None
    if not (0 <= start < stop < 180 and 0 < step < stop - start):
        raise ValueError(f"two_theta must be (start, stop, step) within 0 to 180 degrees, got {two_theta!r}")
    return start + step * np.arange(int((stop - start) / step + 1e-9) + 1)


def _check_reach(reflections, wavelength, highest):
    if reflections.radiation != "xray":
        raise ValueError(f"powder patterns need X-ray reflections, these are of {reflections.radiation}")
    needed = wavelength / (2 * np.sin(np.radians(highest / 2)))
    if reflections.d_min > needed * (1 + 1e-6):
        raise ValueError(
            f"reflections reach d = {reflections.d_min:g} Å, but {highest:g} degrees needs {needed:.4g} Å"
        )


def _rates(reflections, rows, conditions, axis, wavelength):
    """Compute the expected counts of one chunk, shape (n, n_points)."""
    device = reflections.q.device
    column = {name: torch.from_numpy(conditions[name].to_numpy()).to(device) for name in conditions}
    pattern, lines = gather_lines(reflections, rows)
    sine = reflections.q[lines] * (wavelength / 2)
    reached = sine < 1
    pattern, lines, sine = pattern[reached], lines[reached], sine[reached]
    theta = torch.asin(sine)
    factor = (1 + torch.cos(2 * theta) ** 2) / (sine**2 * torch.cos(theta))
    weight = reflections.intensity[lines] * reflections.multiplicity[lines] * factor
    position = (torch.rad2deg(2 * theta) + column["zero_shift"][pattern] - axis[0]) / (axis[1] - axis[0])
    profile = deposit(pattern, position, weight, (len(rows), len(axis)))
    empty = ~(profile.sum(1) > 0)
    if empty.any():
        row = int(rows[int(torch.nonzero(empty)[0])])
        raise ValueError(f"crystal {row} has no line between {axis[0]:g} and {axis[-1]:g} degrees")
    profile = broaden(profile, column["fwhm"] / (axis[1] - axis[0]), column["eta"])
    profile = profile / profile.amax(1, keepdim=True)
    x = torch.from_numpy(axis).to(device)
    decay = 0.3 + torch.exp(-x / column["background_decay"][:, None])
    hump = torch.exp(-0.5 * ((x - column["hump_position"][:, None]) / 5.0) ** 2)
    share = column["hump_share"][:, None]
    diffuse = (1 - share) * decay / decay.mean(1, keepdim=True) + share * hump / hump.mean(1, keepdim=True)
    rates = profile + column["background"][:, None] * diffuse
    return rates * column["peak_counts"][:, None]
