import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from xtalsk.compose import make_features
from xtalsk.composition import ElementFractions, ElementPresence, RankedElements


@pytest.fixture
def specimens():
    return pd.DataFrame({"id": [7, 8, 9], "formula": ["SiO2", None, "Fe"], "eds": [None, {"Fe": 1}, "NaCl"]})


@pytest.fixture
def features():
    return make_features(
        presence=("formula", ElementPresence()),
        eds_ranked=("eds", make_pipeline(ElementFractions(), RankedElements(n_ranks=2))),
    )


def test_columns_are_named_after_the_blocks(specimens, features):
    out = features.fit_transform(specimens.set_index("id"))
    assert (out.dtypes == np.float32).all()
    assert out.index.tolist() == [7, 8, 9]
    assert out.columns.str.fullmatch("[a-z0-9_]+").all()
    assert out.columns.str.split("__").str[0].value_counts().to_dict() == {"presence": 98, "eds_ranked": 12}
    assert out.columns.tolist() == features.get_feature_names_out().tolist()
    assert out.filter(like="presence__").isna().all(axis=1).tolist() == [False, True, False]
    assert out.filter(like="eds_ranked__").isna().all(axis=1).tolist() == [True, False, False]


def test_columns_are_found_by_name(specimens, features):
    expected = features.fit_transform(specimens)
    pd.testing.assert_frame_equal(features.transform(specimens[["eds", "id", "formula"]]), expected)
    for X in (specimens.drop(columns="eds"), specimens.rename(columns={"eds": "eels"})):
        with pytest.raises(ValueError, match="'eds'"):
            clone(features).fit(X)
        with pytest.raises(ValueError, match="'eds'"):
            features.transform(X)


def test_blocks_can_be_dropped_and_replaced(specimens, features):
    features.set_params(eds_ranked="drop", presence=ElementFractions())
    out = features.fit_transform(specimens)
    assert out.shape == (3, 98)
    assert out["presence__o"].iloc[0] == pytest.approx(2 / 3)


def test_a_broken_cell_is_named(specimens, features):
    specimens.loc[2, "eds"] = "NaClx"
    with pytest.raises(ValueError, match=r"row 2 of column eds.*'NaClx' does not parse"):
        features.fit_transform(specimens)


def test_grid_search_over_blocks():
    formulas = ["NaCl", "KCl", "KBr", "Fe2O3", "Al2O3", "Cr2O3"]
    X = pd.DataFrame({"formula": formulas * 4, "constant": "C"})
    y, groups = np.array([225, 225, 225, 167, 167, 167] * 4), np.arange(24) % 6
    features = make_features(
        constant=("constant", ElementPresence()), presence=("formula", ElementPresence())
    )
    search = GridSearchCV(
        make_pipeline(features, DecisionTreeClassifier(random_state=0)),
        {
            "columntransformer__presence": ["drop", RankedElements(1), ElementFractions()],
            "decisiontreeclassifier__max_depth": [1, None],
        },
        cv=GroupKFold(3),
        error_score="raise",
    ).fit(X, y, groups=groups)
    results = pd.DataFrame(search.cv_results_).set_index("rank_test_score")
    assert search.best_score_ > 0.8
    assert isinstance(search.best_params_["columntransformer__presence"], ElementFractions | RankedElements)
    assert search.predict(X.iloc[:1].assign(constant=None)).tolist() == [225]
    nothing = results["param_columntransformer__presence"] == "drop"
    assert results["mean_test_score"][nothing].max() <= 0.5


@pytest.mark.parametrize("name", ["a__b", "_a", "a_", "A", "a-b", "å"])
def test_block_names_are_checked(name):
    with pytest.raises(ValueError, match=f"block name '{name}'"):
        make_features(**{name: ("formula", ElementPresence())})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (("formula", ElementPresence), "instance of a transformer"),
        (("formula", "passthrough"), "instance of a transformer"),
        ((ElementPresence(), "formula"), "tuple"),
        ((["formula"], ElementPresence()), "tuple"),
        (ElementPresence(), "tuple"),
    ],
)
def test_blocks_are_checked(block, message):
    with pytest.raises(ValueError, match=f"block 'presence' .*{message}"):
        make_features(presence=block)


def test_no_block():
    with pytest.raises(ValueError, match="at least one block"):
        make_features()
