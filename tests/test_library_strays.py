"""Search-match with compositions that hold elements of grid, film and contamination."""

import pickle

import numpy as np
import pandas as pd
import pytest

from xtalsk.composition import ElementFractions, ElementPresence
from xtalsk.library import LibraryMatch
from xtalsk.library import _constants as constants
from xtalsk.library._composition_kernels import compare_strays
from xtalsk.library._strays import Strays
from xtalsk.utils._formula import SYMBOLS

FORMULAS = ["SiO2", "CaTiO3", "BaTiO3", "CaCO3", "CuFeS2", "CuCO3", "FeS2", "Au", "CuAu", "C", "Li3N", "TiO2"]


def features(cells):
    blocks = {"fractions": ElementFractions(), "presence": ElementPresence()}
    tables = [block.set_output(transform="pandas").fit_transform(cells) for block in blocks.values()]
    return pd.concat([t.add_prefix(f"{name}__") for name, t in zip(blocks, tables, strict=True)], axis=1)


def first_of(cells, columns="__", **params):
    """Return the formula that fits each cell best."""
    library = features(FORMULAS).filter(like=columns)
    match = LibraryMatch(**params).fit(library, range(len(FORMULAS)), pd.DataFrame({"formula": FORMULAS}))
    return match.candidates(features(cells).filter(like=columns), n=1)["formula"].tolist()


@pytest.mark.parametrize("columns", ["__", "fractions"])
def test_grid_and_film_do_not_hide_the_compound(columns):
    cells = [
        "Ca10Ti10O30C30Cu20",
        "Fe10S20C60Ni10",
        "Cu45Fe5S10C40",
        "Au50C30Cu20",
        "Ba5Ti5O20C70",
        "Si5O10Mo85",
    ]
    assert first_of(cells, columns) == ["CaTiO3", "FeS2", "CuFeS2", "Au", "BaTiO3", "SiO2"]
    assert first_of(cells, columns, stray=()) != first_of(cells, columns)


def test_light_elements_may_be_unseen():
    assert first_of(["Ca10O30Cu60"], "fractions") == ["CaCO3"]
    nitride = np.where(np.arange(98) < 5, np.nan, 0.0)  # without a line of lithium
    nitride[[6, 28]] = 0.3, 0.7
    assert first_of([nitride]) == ["Li3N"]


def test_compositions_that_fit_as_they_are_keep_their_misfit():
    cells = [*FORMULAS, "Ca0.95Ti1.05O3", "Si1.1O1.9"]
    library = features(FORMULAS)
    X = features(cells)
    default, plain = (LibraryMatch(stray=s).fit(library, range(12)) for s in (LibraryMatch().stray, ()))
    np.testing.assert_array_equal(default.predict_proba(X), plain.predict_proba(X))


def test_results_do_not_depend_on_the_other_rows():
    cells = ["Ca10Ti10O30C30Cu20", "SiO2", None, "Fe10S20C60Ni10"]
    match = LibraryMatch(all_missing="missing").fit(features(FORMULAS), range(12))
    X = features(cells)
    with pytest.warns(UserWarning, match="row 2"):
        together = match.predict_proba(X)
    for row in (0, 1, 3):
        np.testing.assert_allclose(match.predict_proba(X[row : row + 1])[0], together[row], rtol=1e-5)


def test_classifiers_from_before_strays_load():
    match = LibraryMatch().fit(features(FORMULAS), range(12))
    del match.__dict__["stray"]
    loaded = pickle.loads(pickle.dumps(match))
    X = features(["Ca10Ti10O30C30Cu20"])
    old = LibraryMatch(stray=()).fit(features(FORMULAS), range(12))
    assert loaded.stray == ()
    np.testing.assert_array_equal(loaded.predict_proba(X), old.predict_proba(X))


@pytest.mark.parametrize("stray", ["Cu", ["Qq"], [6]])
def test_stray_is_checked(stray):
    with pytest.raises(ValueError, match=r"stray (must be a list|has symbols of no element)"):
        LibraryMatch(stray=stray).fit(features(FORMULAS), range(12))


def stable(fraction):
    return np.arcsinh(10 * fraction) / 0.1


def plain_chi2(measured, entry, strays):
    """Return χ² as the compiled loop, with arrays."""
    known = ~np.isnan(measured)
    own = known & (entry > 0)
    is_stray = strays.limits > 0
    seen = own & ~((measured <= constants.ABSENT_FRACTION) & np.isfinite(strays.unseen))
    sums = []
    for scaled in (np.zeros(98, bool), seen, seen & ~is_stray):
        if entry[scaled].sum() == 0 or measured[scaled].sum() == 0:
            expected = np.zeros(98)
            if scaled.any() or sums:
                continue
        else:
            expected = entry * measured[scaled].sum() / entry[scaled].sum()
        difference = stable(np.nan_to_num(measured)) - stable(expected)
        beyond = (stable(np.nan_to_num(measured)) - stable(expected + strays.limits)).clip(min=0)
        cost = difference**2
        excess = is_stray & (difference > 0)
        cost[excess] = np.minimum(cost, strays.costs + beyond**2)[excess]
        absent = (expected > 0) & (measured <= constants.ABSENT_FRACTION) & ~excess
        cost[absent] = np.minimum(cost, strays.unseen)[absent]
        sums.append(cost[known].sum())
    return min(sums)


def test_the_compiled_loop_agrees_with_arrays():
    rng, strays = np.random.RandomState(0), Strays(LibraryMatch().stray)
    entries = rng.dirichlet(np.ones(4), 40)
    columns = np.array([rng.choice(30, 4, replace=False) for _ in range(40)])
    table = np.zeros((40, 98))
    np.put_along_axis(table, columns, entries, axis=1)
    order = np.argsort(columns, axis=1)
    sparse = np.arange(0, 161, 4), np.sort(columns).ravel(), np.take_along_axis(entries, order, 1).ravel()
    errors = constants.RELATIVE_ERROR, constants.ABSOLUTE_ERROR, constants.ABSENT_FRACTION
    for k in range(40):
        measured = 0.4 * table[k] + 0.1 * table[rng.randint(40)]
        measured[[SYMBOLS.index("C"), SYMBOLS.index("Cu")]] += 0.3, 0.2
        measured[rng.choice(98, 20)] = np.nan
        measured[rng.choice(8, 2)] = 0
        measured /= np.nansum(measured)
        out = np.full(40, -1.0)
        is_candidate = rng.uniform(size=40) < 0.9
        compare_strays(
            measured, *sparse, is_candidate, strays.limits, strays.costs, strays.unseen, errors, out
        )
        expected = [plain_chi2(measured, entry, strays) for entry in table]
        np.testing.assert_allclose(out[is_candidate], np.array(expected)[is_candidate], rtol=1e-8)
        assert (out[~is_candidate] == -1).all()
