"""`CompoundBlend` and the list of known compounds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.tree import DecisionTreeClassifier

import xtalsk
from xtalsk import (
    CompositionStatistics,
    CompoundBlend,
    ElementFractions,
    ElementPresence,
    LibraryBlend,
    RankedElements,
    load_compounds,
    make_features,
)
from xtalsk.columns import find_blocks, is_chemistry
from xtalsk.utils import NotMeasuredWarning

LIST = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "formula": ["ZnS", "ZnS", "NaCl", "SiO2", "CsCl"],
        "space_group": [216, 186, 225, 152, 221],
    }
)


class Pattern(ClassifierMixin, BaseEstimator):
    """A classifier that reads its probabilities from the columns of the pattern, and knows no chemistry."""

    classes_ = np.array([186, 216, 225])

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        seen = np.asarray(X, dtype=float)[:, :3]
        return np.where(np.isnan(seen), 1 / 3, seen)


def specimens(formulas, patterns):
    features = make_features(fractions=("formula", ElementFractions()))
    table = features.fit_transform(pd.DataFrame({"formula": pd.Series(formulas, dtype=object)}))
    pattern = pd.DataFrame(patterns, columns=["pattern__x", "pattern__y", "pattern__z"], index=table.index)
    return pd.concat([pattern, table], axis=1)


@pytest.fixture
def blend():
    labels = [186, 216, 225]
    X = specimens(["ZnS"] * 3, np.eye(3))
    return CompoundBlend(FrozenEstimator(Pattern().fit(X, labels)), LIST, all_missing="missing").fit(
        X, labels
    )


def test_the_pattern_tells_polymorphs_of_a_listed_compound_apart(blend):
    X = specimens(["ZnS", "ZnS", "Zn0.9Fe0.1S"], [[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
    proba = pd.DataFrame(blend.predict_proba(X), columns=blend.classes_)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert blend.predict(X)[:2].tolist() == [186, 216]
    # the list excludes rock salt for ZnS: the pattern alone would have said 0.3
    assert proba.loc[1, 225] < 0.3 * 0.5
    # a pattern that no listed space group suits: the compound is probably another one
    assert blend.predict(X)[2] == 225
    listed = blend.listed_probability(X)
    assert listed[2] < 0.5 < listed[0]


def test_rows_without_pattern_or_composition(blend):
    nothing = [np.nan] * 3
    X = specimens(["NaCl", None, None, "CsCl"], [nothing, [0.1, 0.7, 0.2], nothing, nothing])
    with pytest.warns(NotMeasuredWarning, match="row 2"):
        proba = blend.predict_proba(X)
    assert blend.classes_[proba[0].argmax()] == 225
    np.testing.assert_allclose(proba[1, np.isin(blend.classes_, [186, 216, 225])], [0.1, 0.7, 0.2])
    assert np.isnan(proba[2]).all()
    assert blend.classes_[proba[3].argmax()] == 221  # a label that the classifier does not have
    with pytest.warns(NotMeasuredWarning):
        assert np.isnan(blend.listed_probability(X)[1:3]).all()


def test_known_compounds_come_with_their_entries(blend):
    X = specimens([None, "SiO2"], [[0.1, 0.7, 0.2]] * 2)
    best = blend.known_compounds(X, n=1)
    assert best[["row", "id", "formula", "label"]].to_numpy().tolist() == [[1, "d", "SiO2", 152]]
    plain = CompoundBlend(DecisionTreeClassifier(), LIST).fit(np.eye(3), [1, 2, 2])
    assert plain.compounds_ is None
    with pytest.raises(ValueError, match="no block of X has one column for each element"):
        plain.known_compounds(np.eye(3))


def test_common_compounds_come_first():
    X = specimens(["ZnS"] * 3, np.eye(3))
    counted = LIST.assign(n_structures=[1, 9, 0, 0, 0])
    parts = FrozenEstimator(Pattern().fit(X, [186, 216, 225]))
    plain, blend = (CompoundBlend(parts, table).fit(X, [186, 216, 225]) for table in (LIST, counted))
    alone = specimens(["ZnS"], [[np.nan] * 3])
    p_zincblende, p_wurtzite = (np.searchsorted(blend.classes_, group) for group in (216, 186))
    proba = plain.predict_proba(alone)[0]
    assert proba[p_wurtzite] == pytest.approx(proba[p_zincblende])
    proba, shares = blend.predict_proba(alone)[0], blend.known_compounds(alone)
    assert 2 < proba[p_wurtzite] / proba[p_zincblende] <= 3  # root of 9; the classifier has equal shares
    assert shares["id"].tolist()[:2] == ["b", "a"]
    assert shares["score"][0] / shares["score"][1] == pytest.approx(3)
    assert plain.known_compounds(alone)["score"].sum() == pytest.approx(1)
    assert blend.predict(specimens(["ZnS"], [[0.1, 0.8, 0.1]])).tolist() == [216]


def test_blocks_of_the_composition_are_recognised_by_their_columns():
    features = make_features(
        fractions=("formula", ElementFractions()),
        presence=("formula", ElementPresence()),
        ranked=("formula", RankedElements()),
        statistics=("formula", CompositionStatistics()),
    )
    table = features.fit_transform(pd.DataFrame({"formula": ["NaCl"]}))
    table["lattice__cubic_p_evidence"] = table["diffraction__q_0000"] = 0.0
    names = table.columns.to_numpy()
    found = {block.name for block in find_blocks(names, len(names)) if is_chemistry(block, names)}
    assert found == {"fractions", "presence", "ranked", "statistics"}


@pytest.mark.parametrize(
    ("compounds", "message"),
    [
        (LIST.drop(columns="formula"), r"it lacks \['formula'\]"),
        (LIST.assign(space_group=300), "integers from 1 to 230"),
        (LIST.assign(formula="Xx2"), "Xx2"),
        (LIST[:0], "compounds has no row"),
        (
            LIST.assign(n_structures=[1, 2, -1, 1, 1]),
            r"n_structures of compounds must be numbers from 0, got \[-1\]",
        ),
        (LIST.assign(n_structures=[1, 2, "x", 1, 1]), r"numbers from 0, got \['x'\]"),
    ],
)
def test_a_list_that_is_none_raises(compounds, message):
    X = specimens(["ZnS"] * 3, np.eye(3))
    with pytest.raises(ValueError, match=message):
        CompoundBlend(DecisionTreeClassifier(), compounds).fit(X, [186, 216, 225])


def test_labels_must_be_space_groups_and_blocks_must_exist():
    X = specimens(["ZnS"] * 3, np.eye(3))
    with pytest.raises(ValueError, match="integers from 1 to 230"):
        CompoundBlend(DecisionTreeClassifier(), LIST).fit(X, ["cubic", "cubic", "hexagonal"])
    with pytest.raises(ValueError, match=r"chemistry names the blocks \['eds'\]"):
        CompoundBlend(DecisionTreeClassifier(), LIST, chemistry=["eds"]).fit(X, [186, 216, 225])


def test_it_is_saved_and_passes_on_search_match(blend, tmp_path):
    X = specimens(["ZnS", "NaCl"], [[0.6, 0.2, 0.2], [0.2, 0.5, 0.3]])
    inner = LibraryBlend(DecisionTreeClassifier(random_state=0)).fit(X, [216, 225])
    outer = CompoundBlend(FrozenEstimator(inner), LIST, all_missing="missing").fit(X, [216, 225])
    assert len(outer.candidates(X, n=1)) == 2
    assert outer.classifier_ is inner.classifier_
    with pytest.raises(AttributeError, match="no attribute 'candidate'"):
        _ = outer.candidate
    xtalsk.save(outer, tmp_path / "model.xtalsk")
    loaded = xtalsk.load(tmp_path / "model.xtalsk")
    np.testing.assert_array_equal(loaded.predict_proba(X), outer.predict_proba(X))
    assert loaded.known_compounds(X, n=1)["id"].tolist() == outer.known_compounds(X, n=1)["id"].tolist()


def test_the_packaged_list():
    compounds, description = load_compounds(return_descr=True)
    assert "CC0" in description
    assert not compounds.isna().any(axis=None)
    assert len(compounds) == 59458
    assert not compounds.duplicated(["formula", "space_group"]).any()
    by_formula = compounds.groupby("formula")["space_group"].agg(set)
    assert {225} <= by_formula["NaCl"]  # halite, fluorite and quartz
    assert {225} <= by_formula["CaF2"]
    assert {152, 154} & by_formula["SiO2"]
    assert "NaN" in by_formula.index  # sodium and nitrogen, no missing value
    silica = compounds[compounds["formula"] == "SiO2"].set_index("space_group")["n_structures"]
    assert silica[[152, 92]].min() > 10  # quartz, cristobalite
    assert silica.median() == 0
