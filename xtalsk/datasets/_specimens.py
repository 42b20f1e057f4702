"""Tables of simulated specimens."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.utils import check_random_state

from xtalsk.io import DiffractionImage, Profile
from xtalsk.simulation import measured_formulas, powder, reflections, rings
from xtalsk.simulation._formula import atomic_fractions

MODALITIES = ("rings", "powder", "formula")


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
    >>> carbonates = (crystals.formulas == "CaCO3") | (crystals.groups == "Aragonite")
    >>> len(set(groups[carbonates]))
    1
    """
    n = len(crystals)
    fractions = atomic_fractions(crystals.formulas)
    pairs = cKDTree(fractions).query_pairs(tolerance, p=np.inf, output_type="ndarray")
    names, name = np.unique(crystals.groups.astype(str), return_inverse=True)
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
    n_replicas=1,
    electrons=1e5,
    missing=0.0,
    rings_params=None,
    powder_params=None,
    formula_params=None,
    random_state=None,
    verbose=0,
):
    """Simulate what instruments would have recorded of crystals.

    Parameters
    ----------
    crystals : CrystalSet
    modalities : tuple of str
        The columns to make, from ``"rings"`` (polycrystalline electron diffraction images), ``"powder"``
        (X-ray powder profiles) and ``"formula"`` (chemistry measured with error).
    n_replicas : int
        Specimens of each crystal, each drawn anew; they follow each other.
    electrons : float or (low, high)
        Electrons in each ring image, see `xtalsk.simulation.rings`.
    missing : float or dict of str to float
        Probability that a modality of a specimen was not measured, for all or by name. One modality of each
        specimen is always kept.
    rings_params, powder_params, formula_params : dict or None
        Further arguments of `xtalsk.simulation.rings`, `powder` and `measured_formulas`; ``d_min`` (Å) of the
        reflections may be among the first two.
    random_state : int, RandomState or None
    verbose : int
        Above 0 shows progress.

    Returns
    -------
    X : DataFrame
        A row a specimen and a column a modality, with cells as described in `xtalsk.io` or None.
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
    """
    modalities = _check_modalities(modalities)
    if not len(crystals):
        raise ValueError("make_specimens needs at least one crystal, got an empty set")
    if not (isinstance(n_replicas, int | np.integer) and n_replicas >= 1):
        raise ValueError(f"n_replicas must be a positive integer, got {n_replicas!r}")
    rng = check_random_state(random_state)
    rows = np.repeat(np.arange(len(crystals)), n_replicas)
    seeds = {name: int(rng.randint(2**31)) for name in MODALITIES}  # columns do not depend on one another
    params = {
        "rings": {"electrons": electrons, **(rings_params or {})},
        "powder": powder_params or {},
        "formula": formula_params or {},
    }
    makers = {"rings": _ring_cells, "powder": _powder_cells, "formula": _formula_cells}
    columns = {m: makers[m](crystals, rows, dict(params[m]), seeds[m], verbose) for m in modalities}
    keep = _keep(modalities, missing, len(rows), rng)
    X = pd.DataFrame(
        {
            name: pd.Series([c if k else None for c, k in zip(cells, keep[name], strict=True)], dtype=object)
            for name, cells in columns.items()
        }
    )
    return X, crystals.space_groups[rows].astype(np.int64), compound_groups(crystals)[rows]


def _check_modalities(modalities):
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    unknown = [m for m in modalities if m not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(f"modalities must be distinct names from {MODALITIES}, got {modalities}")
    return modalities


def _ring_cells(crystals, rows, params, seed, verbose):
    size, q_max = params.setdefault("size", 256), params.setdefault("q_max", 1.0)
    d_min = params.pop("d_min", 0.7 / q_max)  # reaches into the corners of the image
    lines = reflections(crystals, "electron", d_min, verbose=verbose)
    images = rings(lines, rows, random_state=seed, verbose=verbose, **params)
    return [DiffractionImage(image, pixel_size=2 * q_max / size) for image in images]


def _powder_cells(crystals, rows, params, seed, verbose):
    wavelength = params.setdefault("wavelength", 1.5406)
    start, stop, step = params.setdefault("two_theta", (5.0, 90.0, 0.02))
    d_min = params.pop("d_min", wavelength / (2 * np.sin(np.radians(stop / 2))))
    lines = reflections(crystals, "xray", d_min, wavelength=wavelength, verbose=verbose)
    counts = powder(lines, rows, random_state=seed, verbose=verbose, **params)
    axis = start + step * np.arange(counts.shape[1])
    return [Profile(c, two_theta=axis, wavelength=wavelength) for c in counts]


def _formula_cells(crystals, rows, params, seed, verbose):
    return measured_formulas(crystals, rows, random_state=seed, **params)


def _keep(modalities, missing, n, rng):
    """Whether each modality of each specimen was measured; at least one of each specimen was."""
    if isinstance(missing, dict):
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
