"""What the published pipelines are trained on: conditions, features and how often each crystal is drawn."""

from dataclasses import replace

import numpy as np
from scipy.stats import lognorm, loguniform, norm

from xtalsk import (
    ElementFractions,
    ElementPresence,
    PowderConditions,
    PowderProfile,
    RadialProfile,
    RankedElements,
    RingConditions,
    Sometimes,
    make_features,
)

POWDER_GRID = {"n_bins": 1024, "q_range": (0.06, 0.92)}
"""Copper radiation from 5.3 to 90 degrees of 2θ."""

FORMULAS = [{}, {}, {"relative_error": 0.03, "absolute_error": 0.0, "detection_limit": 0.0, "invisible": ()}]
"""Two in three as an X-ray spectrum gives them, one as an analysis or a label gives them."""


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
    fine = replace(raw, size=loguniform(50, 800), texture=Sometimes(0.7, loguniform(0.2, 1.6), otherwise=1.0))
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
    harsh = replace(RingConditions.harsh(), size=size)
    typical = replace(RingConditions.typical(), size=size, electrons=loguniform(1e4, 1e6))
    return [harsh, typical], [0.75, 0.25]


def make_blocks(modality, chemistry):
    """Features of the published pipelines."""
    if modality == "powder":
        blocks = {"diffraction": ("powder", PowderProfile(**POWDER_GRID))}
    else:
        blocks = {"diffraction": ("rings", RadialProfile(n_bins=512))}
    if chemistry:
        blocks |= {
            "fractions": ("formula", ElementFractions()),
            "presence": ("formula", ElementPresence()),
            "ranked": ("formula", RankedElements()),
        }
    return make_features(**blocks)


def crystal_weights(crystals, share=None):
    """How often each crystal is drawn: a mineral with n entries sqrt(n) times as often as one with a single.

    Databases hold hundreds of entries of a few minerals; specimens do not come in these numbers.
    """
    names = np.where(crystals.groups.astype(str) == "", crystals.formulas, crystals.groups).astype(str)
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    return counts[place] ** -0.5
