"""Tables of simulated specimens."""

import warnings
from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.utils import check_random_state
from tqdm import tqdm

from xtalsk.columns import MODALITIES, modality_of
from xtalsk.crystals import BrokenEntryWarning
from xtalsk.crystals._faults import find_faults
from xtalsk.datasets._constants import LEAST_CRYSTALS_PER_PART, SPECIMENS_PER_PART
from xtalsk.datasets._groups import compound_groups
from xtalsk.datasets._spectra import eds_cells, eels_cells
from xtalsk.io import DiffractionImage, Profile
from xtalsk.simulation import (
    EDSConditions,
    EELSConditions,
    FormulaConditions,
    PowderConditions,
    RingConditions,
    SpotConditions,
    compute_reflections,
    simulate_formulas,
    simulate_powder,
    simulate_rings,
    simulate_spots,
)
from xtalsk.simulation._conditions import PRESETS, check_conditions
from xtalsk.simulation.images._beam import IMAGE_REACH
from xtalsk.utils import check_option
from xtalsk.utils._handover import receive_result, store_result

_KINDS = {
    "rings": RingConditions,
    "spots": SpotConditions,
    "powder": PowderConditions,
    "eds": EDSConditions,
    "eels": EELSConditions,
    "formula": FormulaConditions,
}
_SPECTRA = {"eds": eds_cells, "eels": eels_cells}


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
    on_error="warn",
    memory=None,
    random_state=None,
    n_jobs=None,
    verbose=0,
):
    """Simulate measurements of crystals.

    Parameters
    ----------
    crystals : CrystalSet
    modalities : str or tuple of str
        The columns of ``X``: ``"rings"`` (electron diffraction images of polycrystals), ``"spots"``
        (electron diffraction images of single crystals), ``"powder"`` (X-ray powder profiles), ``"formula"``
        (chemical formulas with measurement errors), ``"eds"`` (X-ray spectra) and ``"eels"`` (energy-loss
        spectra). Thin specimens have the density of their crystal.
    conditions : {"ideal", "typical", "harsh", "measured"} or dict
        Measurement conditions: one preset for all instruments, or a dict from modality to a preset or a
        `RingConditions`, `SpotConditions`, `PowderConditions`, `EDSConditions`, `EELSConditions` or
        `FormulaConditions`. Modalities that the dict lacks are ``"typical"``, and so are formulas unless the
        dict names them: they are no record of an instrument. Presets of formulas are ``"ideal"``,
        ``"typical"`` and ``"microscope"``.
    n_replicas : int
        Number of specimens of each crystal, with independent random draws. They are consecutive rows.
    n_zones : int
        Number of spot patterns of each specimen, in independent orientations. The columns are ``spots_1``,
        ``spots_2`` and so on, or ``spots`` for a single pattern.
    electrons : float, (low, high) or None
        Dose of each image in electrons; replaces the dose of the conditions.
    counts : float, (low, high) or None
        Expected counts of each X-ray spectrum; replaces those of the conditions. Energy-loss spectra keep
        the electrons of their conditions, because they need about a thousand times as many.
    missing : float or dict of str to float
        Probability that a specimen lacks a modality, for all modalities or by modality or column. Every
        specimen keeps at least one column.
    on_error : {"warn", "raise"}
        Some crystals have more than one atom on one position. ``"warn"`` leaves them out and lists them in a
        `BrokenEntryWarning`; ``"raise"`` raises ValueError. A crystal without any reflection in range is
        always an error.
    memory : joblib.Memory, path or None
        Cache on disk for reflections, see `xtalsk.simulation.compute_reflections`.
    random_state : int, RandomState or None
        Seed of the random draws.
    n_jobs : int or None
        None simulates all specimens one after another, with one sequence of random numbers. A number divides
        the crystals into parts of about 128 specimens, each with random numbers of its own, for that many
        joblib workers; a dask backend spreads them over machines. Every number gives the same specimens, also
        1, but not those of None. Powder patterns have impurities of crystals of their part.
    verbose : int
        Above 0 shows progress bars.

    Returns
    -------
    X : DataFrame
        One row per specimen and one column per modality. Cells are those of `xtalsk.io`, or None where the
        modality is missing. A spectrum has its nominal energy axis, voltage and angles, without the
        simulated calibration errors. The spectrum of a crystal without lines or edges in range is pure
        background. ``X.attrs["conditions"]`` describes the conditions of each modality in words.
    y : ndarray of int64
        Space-group numbers.
    groups : ndarray of int
        Compounds, see `compound_groups`. Splits into training and test data must not divide a group.

    Raises
    ------
    ValueError
        If an argument is out of range or a crystal cannot be simulated.

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
    options = {"n_replicas": n_replicas, "n_zones": n_zones, "missing": missing, "memory": memory}
    if n_jobs is None:
        X = _simulate(crystals, modalities, conditions, rng, verbose=verbose, **options)
    else:
        X = _simulate_in_parts(crystals, modalities, conditions, rng, n_jobs, verbose, options)
    X.attrs["conditions"] = {name: repr(conditions[name]) for name in modalities if name in conditions}
    return X, crystals.space_groups[rows].astype(np.int64), groups[rows]


def _simulate(crystals, modalities, conditions, rng, n_replicas, n_zones, missing, memory, verbose=0):
    """Return the table of specimens of crystals without faults."""
    rows = np.repeat(np.arange(len(crystals)), n_replicas)
    seeds = _make_seeds(rng)
    columns = {}

    @cache  # rings and spots with the same range share their reflections
    def reflections(radiation, d_min, wavelength=None):
        return compute_reflections(
            crystals, radiation, d_min, wavelength=wavelength, memory=memory, verbose=verbose
        )

    for name in modalities:
        seed = seeds[name]
        if name == "formula":
            columns[name] = simulate_formulas(crystals, rows, conditions[name], random_state=seed)
        elif name == "spots":
            columns |= _spot_columns(reflections, rows, conditions[name], n_zones, seed, verbose)
        elif name in _SPECTRA:
            columns[name] = _SPECTRA[name](crystals, rows, conditions[name], seed, verbose)
        else:
            make_cells = {"rings": _ring_cells, "powder": _powder_cells}[name]
            columns[name] = make_cells(reflections, rows, conditions[name], seed, verbose)
    is_measured = _draw_measured(tuple(columns), missing, len(rows), rng)
    return pd.DataFrame({name: _masked(cells, is_measured[name]) for name, cells in columns.items()})


def _simulate_in_parts(crystals, modalities, conditions, rng, n_jobs, verbose, options):
    """Return the table of specimens of crystals, simulated in parts that do not depend on the workers.

    Each worker gets only the crystals of its part: every n-th one, because neighbours are often alike, and
    powder patterns have impurities of other crystals of the part.
    """
    n_replicas = options["n_replicas"]
    n_parts = -(-len(crystals) * n_replicas // SPECIMENS_PER_PART)
    n_parts = max(1, min(n_parts, len(crystals) // LEAST_CRYSTALS_PER_PART))
    seed = int(rng.randint(2**31))
    columns, numbers = {}, np.arange(len(crystals) * n_replicas).reshape(-1, n_replicas)
    with TemporaryDirectory(prefix="xtalsk-") as folder:
        folder = folder if effective_n_jobs(n_jobs) > 1 else None
        tasks = (
            delayed(_simulate_part)(crystals[i::n_parts], modalities, conditions, [seed, i], options, folder)
            for i in range(n_parts)
        )
        parts = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
        for i, part in enumerate(tqdm(parts, desc="parts", total=n_parts, disable=verbose < 1)):
            part = receive_result(part)
            for name in part:
                cells = columns.setdefault(name, np.empty(numbers.size, dtype=object))
                cells[numbers[i::n_parts].ravel()] = part[name].to_numpy()
    return pd.DataFrame(columns)


def _simulate_part(crystals, modalities, conditions, seed, options, folder):
    """Return the table of specimens of a part, with the random numbers of a list of seeds.

    ``folder`` is that of `store_result`.
    """
    rng = np.random.RandomState(np.random.SeedSequence(seed).generate_state(4))
    return store_result(_simulate(crystals, modalities, conditions, rng, **options), folder)


def _masked(cells, is_measured):
    """Series of cells, with None where a cell is not measured."""
    return pd.Series([c if m else None for c, m in zip(cells, is_measured, strict=True)], dtype=object)


def _check_modalities(modalities):
    """Return the modalities as a tuple of distinct known names."""
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    unknown = [m for m in modalities if m not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(f"modalities must be distinct names from {tuple(MODALITIES)}, got {modalities}")
    return modalities


def _make_seeds(rng):
    """Draw one seed for each modality, so that no column depends on another.

    Four seeds come from the generator; all others derive from these four. So a new modality at the end of
    `MODALITIES` changes neither the other columns nor the state of the generator.
    """
    seeds = {name: int(rng.randint(2**31)) for name in ("rings", "spots", "powder", "formula")}
    others = [name for name in MODALITIES if name not in seeds]
    derived = np.random.SeedSequence(list(seeds.values())).generate_state(len(others))
    return seeds | {name: int(seed) for name, seed in zip(others, derived, strict=True)}


def _check_conditions(conditions, electrons, counts):
    """Return the conditions by modality, with the dose and the counts of the arguments."""
    if not isinstance(conditions, dict):
        if not (isinstance(conditions, str) and conditions in PRESETS):
            raise ValueError(_describe_mistake(conditions))
        conditions = dict.fromkeys(_KINDS.keys() - {"formula"}, conditions)
    unknown = [name for name in conditions if name not in _KINDS]
    if unknown:
        raise ValueError(f"conditions name {unknown}, expected names from {tuple(_KINDS)}")
    checked = {
        name: check_conditions(conditions.get(name, "typical"), kind, f"conditions of {name!r}")
        for name, kind in _KINDS.items()
    }
    if electrons is not None:
        checked |= {name: replace(checked[name], electrons=electrons) for name in ("rings", "spots")}
    if counts is not None:
        checked["eds"] = replace(checked["eds"], counts=counts)
    return checked


def _describe_mistake(conditions):
    """Return the message for conditions that are neither a preset nor a dict."""
    expected = f"conditions must be one of {PRESETS} or a dict from a modality to its conditions"
    for name, kind in _KINDS.items():
        if isinstance(conditions, kind):
            return f"{expected}, for example {{{name!r}: {kind.__name__}(...)}}; got a {kind.__name__}"
    return f"{expected}, got {conditions!r}"


def _usable(crystals, groups, on_error):
    """Return the crystals without faults and their groups; warn or raise about the others."""
    faults = find_faults(crystals)
    if not faults:
        return crystals, groups
    report = BrokenEntryWarning.of_crystals(crystals, faults)
    if on_error == "raise":
        raise ValueError(str(report))
    warnings.warn(report, stacklevel=3)
    usable = np.setdiff1d(np.arange(len(crystals)), list(faults))
    if not len(usable):
        raise ValueError("none of the crystals can be simulated")
    return crystals[usable], groups[usable]


def _image_options(reflections, conditions):
    """Return the reflections within an image, and its pixel size in 1/Å."""
    in_range = reflections("electron", IMAGE_REACH / conditions.q_max)
    return in_range, 2 * conditions.q_max / conditions.image_size


def _ring_cells(reflections, rows, conditions, seed, verbose):
    """List the ring images of crystals (rows)."""
    in_range, pixel_size = _image_options(reflections, conditions)
    images = simulate_rings(in_range, rows, conditions, random_state=seed, verbose=verbose)
    return [DiffractionImage(image, pixel_size=pixel_size) for image in images]


def _spot_columns(reflections, rows, conditions, n_zones, seed, verbose):
    """Return the spot images of crystals (rows) as one column, or one column for each of several zones."""
    in_range, pixel_size = _image_options(reflections, conditions)
    images = simulate_spots(in_range, rows, conditions, n_zones=n_zones, random_state=seed, verbose=verbose)
    images = images.reshape(len(rows), n_zones, *images.shape[-2:])
    names = ["spots"] if n_zones == 1 else [f"spots_{k}" for k in range(1, n_zones + 1)]
    return {
        name: [DiffractionImage(image[k], pixel_size=pixel_size) for image in images]
        for k, name in enumerate(names)
    }


def _powder_cells(reflections, rows, conditions, seed, verbose):
    """List the powder profiles of crystals (rows)."""
    in_range = reflections("xray", conditions.d_min(), conditions.wavelength)
    counts = simulate_powder(in_range, rows, conditions, random_state=seed, verbose=verbose)
    axis = conditions.axis()
    return [Profile(c, two_theta=axis, wavelength=conditions.wavelength) for c in counts]


def _missing_probabilities(columns, missing):
    """Return the probability that each column (n_columns,) is missing."""
    if isinstance(missing, dict):
        zone_columns = [c for c in columns if c != "spots" and modality_of(c) == "spots"]
        if "spots" in missing and zone_columns:
            missing = missing | dict.fromkeys(zone_columns, missing["spots"])
            del missing["spots"]
        unknown = set(missing) - set(columns)
        if unknown:
            raise ValueError(f"missing names {sorted(unknown)}, the modalities are {columns}")
        probability = np.array([missing.get(c, 0.0) for c in columns], dtype=float)
    else:
        probability = np.full(len(columns), missing, dtype=float)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(f"missing must be probabilities from 0 to 1, got {missing!r}")
    return probability


def _draw_measured(columns, missing, n, rng):
    """Draw whether each column of each of n specimens is measured; at least one column of each is."""
    probability = _missing_probabilities(columns, missing)
    draws = rng.uniform(size=(n, len(columns)))
    is_measured = draws >= probability
    kept = np.argmax(draws - probability, axis=1)
    is_measured[np.arange(n), kept] |= ~is_measured.any(axis=1)
    return dict(zip(columns, is_measured.T, strict=True))
