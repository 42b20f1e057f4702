"""What the published pipelines are trained on: conditions, features and how often each crystal is drawn."""

from dataclasses import replace

import numpy as np
from scipy.stats import lognorm, loguniform, norm
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    ElementPresence,
    IndexingScores,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RankedElements,
    RingConditions,
    Sometimes,
    make_features,
)
from xtalsk.symmetry import crystal_system

POWDER_GRID = {"n_bins": 1024, "q_range": (0.06, 0.92), "wavelength": 1.5406}
"""Copper radiation, which a scan without a wavelength is taken to be of, from 5.3 to 90 degrees of 2θ."""

FORMULAS = [{}, {}, {"relative_error": 0.03, "absolute_error": 0.0, "detection_limit": 0.0, "invisible": ()}]
"""Two in three as an X-ray spectrum gives them, one as an analysis or a label gives them."""


SYSTEM_SHARES = {
    "cubic": 0.12,
    "hexagonal": 0.08,
    "trigonal": 0.09,
    "tetragonal": 0.10,
    "orthorhombic": 0.22,
    "monoclinic": 0.32,
    "triclinic": 0.07,
}
"""Shares of the crystal systems among known minerals, after "The seven systems", The Petrograph (May 1999),
with what is left of the whole split between the last two. The packaged part of AMCSD has 31% cubic, 12%
monoclinic and 0.7% triclinic entries."""


def powder_conditions():
    """Conditions of powder patterns and how often each is drawn."""
    quick = replace(PowderConditions.harsh(), two_theta=(5.0, 90.0, 0.02))
    shifted = replace(quick, zero_shift=norm(0.0, 0.05), displacement=norm(0.0, 0.05))
    raw = replace(
        shifted,
        w=lognorm(s=0.7, scale=4e-3),
        background_removed=0.3,
        full_scale=0.0,
        background=lognorm(s=1.2, scale=120),
        line_counts=lognorm(s=1.3, scale=2e5),
        hump=(0.0, 0.4),
        hump_position=(15.0, 40.0),
        hump_width=(6.0, 30.0),
        air=(0.0, 0.5),
    )
    fine = replace(
        raw,
        crystallite_size=loguniform(50, 800),
        march_parameter=Sometimes(0.7, loguniform(0.2, 1.6), otherwise=1.0),
    )
    cobalt = {"wavelength": 1.788996, "ka2_wavelength": 1.792835}
    molybdenum = {"wavelength": 0.709317, "ka2_wavelength": 0.713607, "two_theta": (3.0, 42.0, 0.01)}
    mixture = [
        (0.38, quick),
        (0.12, replace(shifted, two_theta=(10.0, 80.0, 0.02))),
        (0.16, raw),
        (0.08, replace(raw, two_theta=(10.0, 70.0, 0.02))),
        (0.07, replace(raw, two_theta=(15.0, 90.0, 0.04))),
        (0.07, replace(fine, two_theta=(10.0, 80.0, 0.04))),
        (0.05, replace(fine, two_theta=(5.0, 60.0, 0.02))),
        (0.04, replace(raw, two_theta=(5.0, 100.0, 0.02), **cobalt)),
        (0.03, replace(shifted, **molybdenum)),
    ]
    shares, conditions = zip(*mixture, strict=True)
    return list(conditions), list(shares)


def ring_conditions(size=128):
    """Conditions of ring images and how often each is drawn."""
    harsh = replace(RingConditions.harsh(), image_size=size)
    typical = replace(RingConditions.typical(), image_size=size, electrons=loguniform(1e4, 1e6))
    return [harsh, typical], [0.75, 0.25]


def make_blocks(modality, chemistry):
    """Features of the published pipelines; a cell that cannot be read is warned of and was not measured."""
    if modality == "powder":
        profile, lattice = (
            PowderProfile(**POWDER_GRID, on_error="warn"),
            IndexingScores(POWDER_GRID["q_range"]),
        )
    else:
        profile, lattice = RadialProfile(on_error="warn", cache=True), IndexingScores()
    blocks = {"diffraction": (modality, profile), "lattice": (modality, make_pipeline(profile, lattice))}
    if chemistry:
        blocks |= {
            "fractions": ("formula", ElementFractions(on_error="warn")),
            "presence": ("formula", ElementPresence(on_error="warn")),
            "ranked": ("formula", RankedElements(on_error="warn")),
        }
    return make_features(**blocks)


def crystal_weights(sets, shares):
    """How often each crystal of some sets is drawn.

    Each set gets its share of what is drawn. In it, a mineral with n entries is drawn sqrt(n) times as often
    as one with a single entry. Then the crystal systems are brought to `SYSTEM_SHARES`: structures that were
    solved early and often are of high symmetry; what they leave unknown is mostly monoclinic or triclinic.

    Parameters
    ----------
    sets : list of CrystalSet
    shares : list of float

    Returns
    -------
    ndarray of shape (n_crystals,)
        For the sets one after the other; adds up to 1.
    """
    weights = []
    for crystals, share in zip(sets, shares, strict=True):
        names = np.where(crystals.names.astype(str) == "", crystals.formulas, crystals.names).astype(str)
        _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
        weight = counts[place] ** -0.5
        weights.append(share * weight / weight.sum())
    weights = np.concatenate(weights)
    systems = crystal_system(np.concatenate([crystals.space_groups for crystals in sets]))
    for system, share in SYSTEM_SHARES.items():
        members = systems == system
        if members.any():
            weights[members] *= share / weights[members].sum()
    return weights / weights.sum()


def random_space_groups(n, sets, rng):
    """Space groups for random crystals: systems as in `SYSTEM_SHARES`, in them as often as in the sets."""
    groups = np.concatenate([crystals.space_groups for crystals in sets])
    systems = crystal_system(groups)
    counts = rng.multinomial(n, list(SYSTEM_SHARES.values()))
    chosen = [rng.choice(groups[systems == s], k) for s, k in zip(SYSTEM_SHARES, counts, strict=True)]
    return np.sort(np.concatenate(chosen))
