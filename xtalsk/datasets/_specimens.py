"""Tables of simulated specimens."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.utils import check_random_state

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.datasets._spectra import eds_cells, eels_cells
from xtalsk.io import DiffractionImage, Profile
from xtalsk.simulation import (
    EDSConditions,
    EELSConditions,
    PowderConditions,
    RingConditions,
    SpotConditions,
    compute_reflections,
    simulate_formulas,
    simulate_powder,
    simulate_rings,
    simulate_spots,
)
from xtalsk.simulation._conditions import check_conditions
from xtalsk.simulation.images._beam import IMAGE_REACH
from xtalsk.simulation.spectra._formulas import atomic_fractions
from xtalsk.utils import check_option

_KINDS = {
    "rings": RingConditions,
    "spots": SpotConditions,
    "powder": PowderConditions,
    "eds": EDSConditions,
    "eels": EELSConditions,
}
_SPECTRA = {"eds": eds_cells, "eels": eels_cells}
MODALITIES = ("rings", "spots", "powder", "formula", *_SPECTRA)


def compound_groups(crystals, *, tolerance=0.02):
    """Join crystals of nearly one composition, or of one mineral or prototype name, into numbered groups.

    Joining is handed on: where A and B have one composition and B and C one name, all three are one group.
    Members of a doping series are thus one compound, and so are all polymorphs.

    Parameters
    ----------
    crystals : CrystalSet
    tolerance : float
        Compositions are one if the atomic fractions of no element differ by more.

    Returns
    -------
    ndarray of int, shape (n,)

    Examples
    --------
    >>> from xtalsk.datasets import compound_groups, load_amcsd
    >>> crystals = load_amcsd()
    >>> groups = compound_groups(crystals)
    >>> carbonates = (crystals.formulas == "CaCO3") | (crystals.names == "Aragonite")
    >>> len(set(groups[carbonates]))
    1
    """
    n = len(crystals)
    fractions = atomic_fractions(crystals.formulas)
    pairs = cKDTree(fractions).query_pairs(tolerance, p=np.inf, output_type="ndarray")
    names, name = np.unique(crystals.names.astype(str), return_inverse=True)
    named = np.flatnonzero(names[name] != "")  # no name, no company
    first = np.concatenate([pairs[:, 0], named]).astype(int)
    second = np.concatenate([pairs[:, 1], n + name[named]]).astype(int)
    size = n + len(names)
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    return np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1]


def make_specimens(
    crystals,
    modalities=("rings", "formula"),
    *,
    conditions="typical",
    n_replicas=1,
    n_zones=1,
    electrons=None,
    counts=None,
    missing=0.0,
    formula_params=None,
    on_error="warn",
    memory=None,
    random_state=None,
    verbose=0,
):
    """Simulate what instruments would have recorded of crystals.

    Parameters
    ----------
    crystals : CrystalSet
    modalities : tuple of str
        The columns to make, from ``"rings"`` (polycrystalline electron diffraction images), ``"spots"``
        (electron diffraction images of single crystals), ``"powder"`` (X-ray powder profiles),
        ``"formula"`` (chemistry measured with error), ``"eds"`` (spectra of X-rays) and ``"eels"`` (spectra
        of energy losses). Thin specimens have the density of their crystal.
    conditions : {"ideal", "typical", "harsh"} or dict
        How they are recorded: a preset for all, or by modality a preset or a `RingConditions`,
        `SpotConditions`, `PowderConditions`, `EDSConditions` or `EELSConditions`; those not named are
        typical.
    n_replicas : int
        Specimens of each crystal, each drawn anew; they follow each other.
    n_zones : int
        Spot patterns of each specimen, each in an orientation of its own, in columns ``spots_1``,
        ``spots_2`` and so on; the one of a single zone is called ``spots``.
    electrons : float, (low, high) or None
        Takes the place of the dose of the images.
    counts : float, (low, high) or None
        Takes the place of the expected counts of each X-ray spectrum. Energy-loss spectra, which need a
        thousand times as many electrons, keep those of their conditions.
    missing : float or dict of str to float
        Probability that a modality of a specimen was not measured, for all or by name (of the modality or of
        its column). One column of each specimen is always kept.
    formula_params : dict or None
        Further arguments of `simulate_formulas`.
    on_error : {"warn", "raise"}
        Whether crystals that cannot be right (atoms on top of each other) are left out and named in a
        `BrokenEntryWarning`, or raise. A crystal without a reflection in range raises in any case.
    memory : joblib.Memory, path or None
        Where to keep reflections on disk, see `xtalsk.simulation.compute_reflections`.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    X : DataFrame
        A row a specimen and a column a modality, with cells as described in `xtalsk.io` or None. A spectrum
        knows its nominal axis, voltage and angles, not the errors that were drawn. Crystals without a line
        or edge in range have spectra too, of nothing but background.
        ``X.attrs["conditions"]`` says in words how each modality was recorded.
    y : ndarray of int64
        Space-group numbers.
    groups : ndarray of int
        Groups that must not straddle a split, see `compound_groups`.

    Raises
    ------
    ValueError
        If an argument is out of range or a crystal cannot be rendered.

    Examples
    --------
    >>> from xtalsk.datasets import load_amcsd, make_specimens
    >>> X, y, groups = make_specimens(load_amcsd()[:4], n_replicas=2, random_state=0)
    >>> X.shape, y.tolist()
    ((8, 2), [225, 225, 225, 225, 225, 225, 205, 205])
    >>> X.loc[0, "rings"]
    DiffractionImage(256 x 256, pixel_size=0.0078125, center=None)

    X-ray spectra of 20,000 counts:

    >>> X, y, groups = make_specimens(load_amcsd()[:2], "eds", counts=2e4, random_state=0)
    >>> X.loc[0, "eds"]
    Spectrum(2048 channels, 5 to 20475 eV, beam_energy=200 keV)
    """
    modalities = _check_modalities(modalities)
    check_option("on_error", on_error, ("warn", "raise"))
    if not len(crystals):
        raise ValueError("make_specimens needs at least one crystal, got an empty set")
    for name, value in (("n_replicas", n_replicas), ("n_zones", n_zones)):
        if not (isinstance(value, int | np.integer) and value >= 1):
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    conditions = _check_conditions(conditions, electrons, counts)
    groups = compound_groups(crystals)
    crystals, groups = _usable(crystals, groups, on_error)
    rng = check_random_state(random_state)
    rows = np.repeat(np.arange(len(crystals)), n_replicas)
    seeds = _make_seeds(rng)
    columns = {}

    @cache  # rings and spots that reach equally far share their reflections
    def lines(radiation, d_min, wavelength=None):
        return compute_reflections(
            crystals, radiation, d_min, wavelength=wavelength, memory=memory, verbose=verbose
        )

    for name in modalities:
        if name == "formula":
            cells = simulate_formulas(crystals, rows, random_state=seeds[name], **(formula_params or {}))
            columns[name] = cells
        elif name == "spots":
            columns |= _spot_columns(lines, rows, conditions[name], n_zones, seeds[name], verbose)
        elif name in _SPECTRA:
            columns[name] = _SPECTRA[name](crystals, rows, conditions[name], seeds[name], verbose)
        else:
            make = {"rings": _ring_cells, "powder": _powder_cells}[name]
            columns[name] = make(lines, rows, conditions[name], seeds[name], verbose)
    keep = _keep(tuple(columns), missing, len(rows), rng)
    X = pd.DataFrame(
        {
            name: pd.Series([c if k else None for c, k in zip(cells, keep[name], strict=True)], dtype=object)
            for name, cells in columns.items()
        }
    )
    X.attrs["conditions"] = {name: repr(conditions[name]) for name in modalities if name in conditions}
    return X, crystals.space_groups[rows].astype(np.int64), groups[rows]


def _check_modalities(modalities):
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    unknown = [m for m in modalities if m not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(f"modalities must be distinct names from {MODALITIES}, got {modalities}")
    return modalities


def _make_seeds(rng):
    """Seeds of the columns, which thus do not depend on one another.

    Those of spectra are made of the others: the generator goes on as it would without them.
    """
    seeds = {name: int(rng.randint(2**31)) for name in MODALITIES if name not in _SPECTRA}
    more = np.random.SeedSequence(list(seeds.values())).generate_state(len(_SPECTRA))
    return seeds | {name: int(seed) for name, seed in zip(_SPECTRA, more, strict=True)}


def _check_conditions(conditions, electrons, counts):
    """Conditions by modality, the dose replaced where one is given."""
    if not isinstance(conditions, dict):
        conditions = dict.fromkeys(_KINDS, conditions)
    unknown = [name for name in conditions if name not in _KINDS]
    if unknown:
        raise ValueError(f"conditions name {unknown}, expected names from {tuple(_KINDS)}")
    made = {name: check_conditions(conditions.get(name, "typical"), kind) for name, kind in _KINDS.items()}
    if electrons is not None:
        made |= {name: replace(made[name], electrons=electrons) for name in ("rings", "spots")}
    if counts is not None:
        made["eds"] = replace(made["eds"], counts=counts)
    return made


def _usable(crystals, groups, on_error):
    """Leave crystals that cannot be right out, and say so."""
    faults = find_faults(crystals)
    if not faults:
        return crystals, groups
    report = BrokenEntryWarning.of_crystals(crystals, faults)
    if on_error == "raise":
        raise ValueError(str(report))
    warnings.warn(report, stacklevel=3)
    usable = np.setdiff1d(np.arange(len(crystals)), list(faults))
    if not len(usable):
        raise ValueError("no crystal is left that can be rendered")
    return crystals[usable], groups[usable]


def _ring_cells(lines, rows, conditions, seed, verbose):
    found = lines("electron", IMAGE_REACH / conditions.q_max)
    images = simulate_rings(found, rows, conditions, random_state=seed, verbose=verbose)
    return [
        DiffractionImage(image, pixel_size=2 * conditions.q_max / conditions.image_size) for image in images
    ]


def _spot_columns(lines, rows, conditions, n_zones, seed, verbose):
    found = lines("electron", IMAGE_REACH / conditions.q_max)
    images = simulate_spots(found, rows, conditions, n_zones=n_zones, random_state=seed, verbose=verbose)
    pixel_size = 2 * conditions.q_max / conditions.image_size
    images = images.reshape(len(rows), n_zones, *images.shape[-2:])
    names = ["spots"] if n_zones == 1 else [f"spots_{k}" for k in range(1, n_zones + 1)]
    return {
        name: [DiffractionImage(image[k], pixel_size=pixel_size) for image in images]
        for k, name in enumerate(names)
    }


def _powder_cells(lines, rows, conditions, seed, verbose):
    found = lines("xray", conditions.d_min(), conditions.wavelength)
    counts = simulate_powder(found, rows, conditions, random_state=seed, verbose=verbose)
    axis = conditions.axis()
    return [Profile(c, two_theta=axis, wavelength=conditions.wavelength) for c in counts]


def _keep(modalities, missing, n, rng):
    """Whether each modality of each specimen was measured; at least one of each specimen was."""
    if isinstance(missing, dict):
        zones = {m: missing["spots"] for m in modalities if m.startswith("spots_") and "spots" in missing}
        missing = {name: p for name, p in missing.items() if name != "spots" or not zones} | zones
        unknown = set(missing) - set(modalities)
        if unknown:
            raise ValueError(f"missing names {sorted(unknown)}, the modalities are {modalities}")
        probability = np.array([missing.get(m, 0.0) for m in modalities], dtype=float)
    else:
        probability = np.full(len(modalities), missing, dtype=float)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(f"missing must be probabilities from 0 to 1, got {missing!r}")
    draws = rng.uniform(size=(n, len(modalities)))
    keep = draws >= probability
    spared = np.argmax(draws - probability, axis=1)
    keep[np.arange(n), spared] |= ~keep.any(axis=1)
    return dict(zip(modalities, keep.T, strict=True))
