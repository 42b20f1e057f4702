"""Training data of the published pipelines: conditions, features and weights of the crystals.

The mixture of crystals and the block of lattices were decided on the 301 measured minerals of protocol B (see
README.md). How the conditions and their shares were chosen is not recorded.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import lognorm, loguniform, norm
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from xtalsk import (
    CompositionStatistics,
    CrystalSet,
    ElementFractions,
    ElementPresence,
    FormulaConditions,
    IndexingScores,
    PolarImage,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RankedElements,
    RingConditions,
    Sometimes,
    SpotConditions,
    SpotLattice,
    SpotProfile,
    compound_groups,
    make_features,
)
from xtalsk.symmetry import crystal_system

POWDER_GRID = {"n_bins": 1024, "q_range": (0.06, 0.92), "wavelength": 1.5406}
"""Grid of q in 1/Å: 5.3 to 90 degrees of 2θ for Cu Kα1, the wavelength in Å of scans that name none."""

ZONES = [f"spots_{k}" for k in range(1, 9)]
"""Columns of the zones of a specimen."""

ZONE_SHARES = {1: 0.3, 2: 0.2, 4: 0.25, 8: 0.25}
"""Shares of specimens with so many zones; set by eye. In training, specimens lose zones at random besides."""

SYSTEM_SHARES = {
    "cubic": 0.12,
    "hexagonal": 0.08,
    "trigonal": 0.09,
    "tetragonal": 0.10,
    "orthorhombic": 0.22,
    "monoclinic": 0.32,
    "triclinic": 0.07,
}
"""Shares of the crystal systems among known minerals, from "The seven systems", The Petrograph (May 1999).
The remainder to 1 is split between the last two. The packaged part of AMCSD has 31% cubic, 12% monoclinic and
0.7% triclinic entries."""

SPOT_SYSTEM_SHARES = {
    "cubic": 0.29,
    "hexagonal": 0.10,
    "trigonal": 0.12,
    "tetragonal": 0.12,
    "orthorhombic": 0.19,
    "monoclinic": 0.15,
    "triclinic": 0.03,
}
"""Shares of the crystal systems in the training on spot patterns: about those of the packaged part of AMCSD,
because microscopes mostly see phases of high symmetry. Triclinic crystals have a larger share than there."""


def powder_conditions():
    """Return the conditions of powder patterns and the share of each.

    One in eleven is of a film, whose crystallites have a preferred orientation along its normal.
    """
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
    film = replace(
        fine,
        march_parameter=loguniform(0.15, 0.9),
        crystallite_size=loguniform(100, 1500),
        line_counts=lognorm(s=1.5, scale=2e5),
    )
    cobalt = {"wavelength": 1.788996, "ka2_wavelength": 1.792835}
    molybdenum = {"wavelength": 0.709317, "ka2_wavelength": 0.713607, "two_theta": (3.0, 42.0, 0.01)}
    mixture = [
        (0.31, quick),
        (0.10, replace(shifted, two_theta=(10.0, 80.0, 0.02))),
        (0.16, raw),
        (0.08, replace(raw, two_theta=(10.0, 70.0, 0.02))),
        (0.07, replace(raw, two_theta=(15.0, 90.0, 0.04))),
        (0.07, replace(fine, two_theta=(10.0, 80.0, 0.04))),
        (0.05, replace(fine, two_theta=(5.0, 60.0, 0.02))),
        (0.05, replace(film, two_theta=(5.0, 70.0, 0.02))),
        (0.04, replace(film, two_theta=(10.0, 60.0, 0.02))),
        (0.04, replace(raw, two_theta=(5.0, 100.0, 0.02), **cobalt)),
        (0.03, replace(shifted, **molybdenum)),
    ]
    shares, conditions = zip(*mixture, strict=True)
    return list(conditions), list(shares)


def ring_conditions():
    """Return the conditions of ring images and the share of each.

    Seven in ten are pictures as laboratories share them, of five cameras; the others have the lower doses of
    scans.
    """
    measured, scan = RingConditions.measured(), RingConditions.harsh()
    typical = replace(RingConditions.typical(), image_size=128, electrons=loguniform(1e4, 1e6))
    return [
        replace(measured, image_size=176, q_max=0.7, beam_energy=300.0),
        replace(measured, image_size=176, q_max=0.85),
        replace(measured, image_size=192, q_max=1.0),
        replace(measured, image_size=192, q_max=1.15, beam_energy=80.0),
        replace(measured, image_size=192, q_max=1.15, electrons=loguniform(1e3, 1e7)),
        replace(scan, image_size=128),
        replace(scan, image_size=128, ring_width=(0.01, 0.05), calibration=(-0.05, 0.05)),
        typical,
    ], [0.1, 0.15, 0.2, 0.2, 0.1, 0.12, 0.08, 0.05]


def spot_conditions():
    """Return the conditions of spot patterns and the share of each.

    Half of the patterns have the beam along any direction, the others within 3 degrees of a low-index zone.
    Three in ten are pictures as laboratories share them. Two in five may be precessed. The choice was made by
    eye.
    """
    harsh, measured, typical = SpotConditions.harsh(), SpotConditions.measured(), SpotConditions.typical()
    zone = {"zone_axis": "low_index", "mistilt": (0.0, 3.0)}
    precessed = {"precession": Sometimes(0.8, (0.3, 2.0))}
    wide = {"calibration": (-0.05, 0.05)}
    mixture = [
        (0.20, replace(harsh, image_size=160)),
        (0.16, replace(harsh, image_size=160, **zone)),
        (0.08, replace(harsh, image_size=160, q_max=1.4, **precessed)),
        (0.08, replace(harsh, image_size=128, q_max=0.8, **zone, **wide)),
        (0.08, replace(typical, image_size=128, electrons=loguniform(1e3, 1e6))),
        (0.08, replace(typical, image_size=128, electrons=loguniform(1e3, 1e6), **zone, **precessed)),
        (0.10, replace(measured, image_size=192)),
        (0.08, replace(measured, image_size=192, q_max=1.3, beam_energy=300.0, **zone)),
        (0.07, replace(measured, image_size=160, q_max=0.8, beam_energy=80.0)),
        (0.07, replace(measured, image_size=160, **zone, **precessed)),
    ]
    shares, conditions = zip(*mixture, strict=True)
    return list(conditions), list(shares)


def formula_conditions(modality):
    """Return the conditions of compositions and the share of each.

    With powders, two compositions in three are as in an X-ray spectrum and one is as in an analysis or on a
    label. With electrons, half of the compositions are those of a specimen on a grid and a film.
    """
    label = FormulaConditions(relative_error=0.03, absolute_error=0.0, detection_limit=0.0, invisible=())
    if modality == "powder":
        return [FormulaConditions.typical(), label], [2 / 3, 1 / 3]
    return [FormulaConditions.typical(), label, FormulaConditions.microscope()], [0.25, 0.25, 0.5]


def make_blocks(modality, chemistry, statistics=False):
    """Return the features of the published pipelines; an unreadable cell gives a warning and NaN.

    ``statistics`` adds a block of `CompositionStatistics`.
    """
    if modality == "powder":
        profile = PowderProfile(**POWDER_GRID, on_error="warn")
        indexing = make_pipeline(profile, IndexingScores(POWDER_GRID["q_range"]))
        blocks = {"diffraction": (modality, profile), "lattice": (modality, indexing)}
    elif modality == "spots":
        blocks = {
            "lattice": (ZONES, SpotLattice(on_error="warn")),
            "profile": (ZONES, SpotProfile(on_error="warn")),
            "polar": (ZONES, PolarImage(on_error="warn")),
        }
    else:
        blocks = {
            "diffraction": (modality, RadialProfile(on_error="warn", cache=True)),
            "spots": (modality, RadialProfile(256, statistic="spots", on_error="warn", cache=True)),
        }
    if chemistry:
        blocks |= {
            "fractions": ("formula", ElementFractions(on_error="warn")),
            "presence": ("formula", ElementPresence(on_error="warn")),
            "ranked": ("formula", RankedElements(on_error="warn")),
        }
        if statistics:
            blocks["statistics"] = ("formula", CompositionStatistics(on_error="warn"))
    return make_features(**blocks)


def system_shares(modality):
    """Return the shares of the crystal systems in the training on a modality."""
    return SPOT_SYSTEM_SHARES if modality == "spots" else SYSTEM_SHARES


def crystal_weights(sets, shares, systems=SYSTEM_SHARES):
    """Return the weight of each crystal of several sets.

    First, each set has its share. Within a set, a mineral with n entries has sqrt(n) times the weight of a
    mineral with one entry. Then the crystal systems are scaled to their shares, because databases hold too
    many structures of high symmetry.

    Parameters
    ----------
    sets : list of CrystalSet
    shares : list of float
    systems : dict of {str: float}
        Share of each crystal system.

    Returns
    -------
    ndarray of shape (n_crystals,)
        For the concatenated sets; the sum is 1.
    """
    weights = []
    for crystals, share in zip(sets, shares, strict=True):
        names = np.where(crystals.names.astype(str) == "", crystals.formulas, crystals.names).astype(str)
        _, mineral, counts = np.unique(names, return_inverse=True, return_counts=True)
        weight = counts[mineral] ** -0.5
        weights.append(share * weight / weight.sum())
    weights = np.concatenate(weights)
    system_of = crystal_system(np.concatenate([crystals.space_groups for crystals in sets]))
    for system, share in systems.items():
        members = system_of == system
        if members.any():
            weights[members] *= share / weights[members].sum()
    return weights / weights.sum()


def random_space_groups(n, sets, rng, systems=SYSTEM_SHARES):
    """Return random space groups: systems with the given shares, groups of a system as in the sets."""
    groups = np.concatenate([crystals.space_groups for crystals in sets])
    system_of = crystal_system(groups)
    counts = rng.multinomial(n, list(systems.values()))
    draws = [rng.choice(groups[system_of == s], k) for s, k in zip(systems, counts, strict=True)]
    return np.sort(np.concatenate(draws))


def held_out(crystals, fold):
    """Return which crystals of AMCSD are in a fold of the five grouped folds that the benchmarks use.

    Parameters
    ----------
    crystals : CrystalSet
        From `load_amcsd`.
    fold : int
        0 to 4.

    Returns
    -------
    ndarray of bool, shape (n_crystals,)
    """
    cv = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    splits = cv.split(np.zeros(len(crystals)), crystals.space_groups, compound_groups(crystals))
    is_held_out = np.zeros(len(crystals), dtype=bool)
    is_held_out[list(splits)[fold][1]] = True
    return is_held_out


def without_fold(sets, fold):
    """Return sets of crystals, one of them AMCSD, without the compounds of a fold of AMCSD.

    Parameters
    ----------
    sets : dict of {str: CrystalSet}
        The first is ``"amcsd"``.
    fold : int
        See `held_out`.

    Returns
    -------
    dict of {str: CrystalSet}
        Crystals of other sets that have the formula or the name of a crystal of the fold are left out, too.
    """
    groups = compound_groups(CrystalSet.concatenate(list(sets.values())))
    excluded = np.unique(groups[: len(sets["amcsd"])][held_out(sets["amcsd"], fold)])
    parts = np.split(np.isin(groups, excluded), np.cumsum([len(crystals) for crystals in sets.values()])[:-1])
    return {
        name: crystals[np.flatnonzero(~part)]
        for (name, crystals), part in zip(sets.items(), parts, strict=True)
    }
