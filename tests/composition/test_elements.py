import pickle

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from xtalsk.composition import CompositionStatistics, ElementFractions, ElementPresence, RankedElements
from xtalsk.neural import FusionClassifier

CELLS = ["SiO2", None, "Ca(OH)2", "XeF6"]


def test_fractions_sum_to_one():
    out = ElementFractions().fit(CELLS).transform(CELLS)
    assert out.shape == (4, 98)
    np.testing.assert_allclose(out.sum(axis=1), [1, np.nan, 1, 1], rtol=1e-6)


def test_presence_threshold_is_inclusive():
    cells = ["Fe0.99Mn0.01", "Fe0.995Mn0.005"]
    out = ElementPresence(threshold=0.01).set_output(transform="pandas").fit_transform(cells)
    assert out["mn"].tolist() == [1, 0]
    assert out["fe"].tolist() == [1, 1]


@pytest.mark.parametrize("threshold", [0, -1, 1.5, "0.1"])
def test_presence_threshold_is_checked(threshold):
    with pytest.raises((ValueError, TypeError), match="threshold"):
        ElementPresence(threshold=threshold).fit(CELLS)


def test_ranked_elements_break_ties_by_atomic_number():
    cells = ["OCaH", "HCaO", {"Ca": 1 / 3, "O": 1 / 3, "H": 1 - 2 / 3}]
    out = RankedElements(n_ranks=4).set_output(transform="pandas").fit_transform(cells)
    assert out[[f"rank{r}_z" for r in (1, 2, 3, 4)]].to_numpy().tolist() == [[1, 8, 20, 0]] * 3


def test_absent_ranks_are_zero_and_electronegativities_may_be_unknown():
    out = RankedElements(n_ranks=2).set_output(transform="pandas").fit_transform(["Ar", "Xe"])
    assert (out.filter(like="rank2_") == 0).all(axis=None)
    assert out["rank1_electronegativity"].isna().tolist() == [True, False]


def test_onehot_ranks():
    out = RankedElements(n_ranks=2, encoding="onehot").set_output(transform="pandas").fit_transform(CELLS)
    assert out.shape == (4, 2 * 99)
    assert out.loc[0, ["rank1_o", "rank1_si", "rank2_si"]].tolist() == [1, 0, 1]
    assert out.loc[2, "rank1_fraction"] == pytest.approx(0.4)
    assert out.drop(columns=["rank1_fraction", "rank2_fraction"]).sum(axis=1)[[0, 2, 3]].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "params", [{"n_ranks": 0}, {"n_ranks": 99}, {"n_ranks": 2.5}, {"encoding": "ordinal"}]
)
def test_ranked_parameters_are_checked(params):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        RankedElements(**params).fit(CELLS)


@pytest.mark.parametrize("transformer", [ElementFractions(), ElementPresence(), RankedElements(3)])
def test_a_table_of_fractions_gives_the_same_features(transformer):
    expected = transformer.fit(CELLS).transform(CELLS)
    table = ElementFractions().set_output(transform="pandas").fit_transform(CELLS)
    table.index = list("abcd")
    named = table[["xe", "o", "ca", "h", "si", "f"]].add_prefix("eds__")
    for matrix in (table, named, table.to_numpy(), table.to_numpy()[:, :54]):
        np.testing.assert_allclose(transformer.fit(matrix).transform(matrix), expected, atol=1e-6)
    framed = transformer.set_output(transform="pandas").fit(named).transform(named)
    assert framed.index.tolist() == list("abcd")
    assert transformer.n_features_in_ == 6
    chained = make_pipeline(ElementFractions(), transformer).set_output(transform="default")
    np.testing.assert_allclose(chained.fit_transform(CELLS), expected, atol=1e-6)


UNMEASURED = pd.DataFrame({"h": [np.nan, np.nan, 0.0], "o": [2.0, np.nan, 1.0], "si": [1.0, np.nan, 0.0]})


@pytest.mark.parametrize("as_matrix", [False, True])
def test_nan_entries_of_a_table_are_elements_that_cannot_be_measured(as_matrix):
    table = UNMEASURED
    if as_matrix:
        table = np.zeros((3, 20))
        table[:, [0, 7, 13]] = UNMEASURED
        table[1] = np.nan
    for transformer, expected in (
        (ElementFractions(), [[np.nan, 2 / 3, 1 / 3], [np.nan] * 3, [0, 1, 0]]),
        (ElementPresence(), [[np.nan, 1, 1], [np.nan] * 3, [0, 1, 0]]),
    ):
        out = transformer.fit(table).transform(table)
        np.testing.assert_allclose(out[:, [0, 7, 13]], expected, rtol=1e-6)
        others = np.delete(out, [0, 7, 13], axis=1)
        assert (others[[0, 2]] == 0).all()
        assert np.isnan(others[1]).all()


@pytest.mark.parametrize("transformer", [RankedElements(2), CompositionStatistics()])
def test_elements_that_cannot_be_measured_are_left_out(transformer):
    expected = transformer.fit_transform(["SiO2", None, "O"])
    np.testing.assert_allclose(transformer.fit(UNMEASURED).transform(UNMEASURED), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "transformer", [ElementFractions(), ElementPresence(), RankedElements(2), CompositionStatistics()]
)
def test_rows_without_any_element(transformer):
    table = pd.DataFrame({"h": [np.nan, 0.0, 0.0, np.nan], "o": [0.0, 0.0, 1.0, np.nan]})
    statistics = isinstance(transformer, CompositionStatistics)
    for rows in (table, table.to_numpy()):
        out = transformer.fit(rows).transform(rows)
        assert np.isnan(out).all(axis=1).tolist() == [statistics, statistics, False, True]
        assert statistics or not np.nan_to_num(out[:2]).any()
    with pytest.raises(ValueError, match="all fractions are zero"):
        transformer.fit([np.zeros(5)]).transform([np.zeros(5)])


def test_classifiers_accept_elements_that_cannot_be_measured():
    rng = np.random.RandomState(0)
    table = pd.DataFrame(rng.dirichlet(np.ones(6), 60), columns=["be", "o", "na", "si", "ca", "fe"])
    y = (table["si"] > table["fe"]).astype(int)
    table.loc[rng.uniform(size=60) < 0.5, "be"] = np.nan
    table.loc[rng.uniform(size=60) < 0.2, "na"] = np.nan
    network = FusionClassifier(max_epochs=3, early_stopping=False, random_state=0)
    for classifier in (HistGradientBoostingClassifier(max_iter=5), network):
        model = make_pipeline(ElementFractions(), ElementPresence(0.1), classifier).fit(table, y)
        assert np.isnan(model[:-1].transform(table)[:, 3]).mean() > 0.4
        assert np.isfinite(model.predict_proba(table)).all()


def test_tables_are_checked():
    table = pd.DataFrame({"o": [1.0], "si": [1.0]})
    fitted = ElementFractions().fit(table)
    with pytest.raises(ValueError, match="fitted on columns"):
        fitted.transform(table.rename(columns={"o": "s"}))
    with pytest.raises(ValueError, match="fitted on 2 columns"):
        fitted.transform(table.assign(h=0.0))
    with pytest.raises(ValueError, match=r"'total' of a table .* must end in an element symbol"):
        fitted.fit(table.assign(total=1.0))
    with pytest.raises(ValueError, match="'a__o': another column already holds O"):
        fitted.fit(table.assign(a__o=1.0))
    with pytest.raises(ValueError, match="at most 98 columns"):
        fitted.fit(np.ones((2, 99)))
    with pytest.raises(ValueError, match=r"row 0 .* fraction of O is -1"):
        fitted.transform(-table)


ALL_BLOCKS = [ElementFractions(), ElementPresence(), RankedElements(3), CompositionStatistics()]


@pytest.mark.parametrize("transformer", ALL_BLOCKS, ids=lambda block: type(block).__name__)
def test_cells_from_spectra_are_the_rows_of_their_table(transformer):
    table = pd.DataFrame(np.zeros((3, 98)), columns=ElementFractions().fit(CELLS).get_feature_names_out())
    table.loc[0, ["o", "si", "cu"]] = 0.4, 0.2, 0.4
    table.loc[1, ["o", "fe"]] = 0.25
    table.loc[:, "h":"b"] = np.nan
    table.loc[2] = np.nan
    expected = transformer.fit(table).transform(table)
    series = [row for _, row in table.add_prefix("eds__").iterrows()]
    dicts = [{k.capitalize(): v for k, v in row.items()} for row in table.to_dict("records")[:2]]
    for cells in (series, dicts, list(table.to_numpy()), list(table.to_numpy()[:, :30])):
        out = transformer.fit(cells).transform(pd.Series(cells))
        np.testing.assert_allclose(out, expected[: len(cells)], rtol=1e-6)
    unfit = pd.Series({"o": 1.0, "si": np.nan, "total": 1.0})
    with pytest.raises(ValueError, match=r"row 0 .* 'total' .* must end in an element symbol"):
        transformer.transform(pd.Series([unfit]))
    with pytest.raises(ValueError, match="amount of O is 'much', not a number"):
        transformer.transform([{"O": "much", "Si": np.nan}])


@pytest.mark.parametrize("transformer", ALL_BLOCKS, ids=lambda block: type(block).__name__)
def test_excluded_elements_are_not_known(transformer):
    cells = ["Si25O50Cu10C15", None, "CuC", {"Ca": 1, "Cu": 3}, Composition("SiO2")]
    transformer = clone(transformer).set_params(exclude=("Cu", "C"))
    table = np.zeros((5, 98))
    table[0, [7, 13]] = 2 / 3, 1 / 3
    table[1] = np.nan
    table[3, 19] = 1
    table[4] = table[0]
    table[:, [5, 28]] = np.nan
    out = transformer.fit(cells).transform(cells)
    np.testing.assert_allclose(out, clone(transformer).set_params(exclude=()).fit_transform(table), rtol=1e-6)
    streamed = transformer._batched(None)(ElementFractions().fit_transform(cells))
    np.testing.assert_allclose(streamed, out, rtol=1e-5, atol=1e-6)
    for exclude, message in (("Cu", "exclude must be a list of symbols"), (["Qq"], "unknown element 'Qq'")):
        with pytest.raises(ValueError, match=message):
            clone(transformer).set_params(exclude=exclude).fit(cells)


def test_models_from_before_exclude_load():
    saved = ElementFractions().fit(CELLS)
    del saved.__dict__["exclude"]
    loaded = pickle.loads(pickle.dumps(saved))
    np.testing.assert_array_equal(loaded.transform(CELLS), ElementFractions().fit_transform(CELLS))
    assert clone(loaded).exclude == ()
