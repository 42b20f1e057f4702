import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from xtalsk.compose import SpecimenColumns, make_features
from xtalsk.composition import ElementFractions, ElementPresence, RankedElements
from xtalsk.diffraction import PowderProfile
from xtalsk.io import Profile


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
        with pytest.raises(ValueError, match=r"'eds'|not a column of the dataframe"):
            clone(features).fit(X)
        with pytest.raises(ValueError, match=r"'eds'|not a column of the dataframe"):
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
        (([], ElementPresence()), "tuple"),
        ((["formula", "formula"], ElementPresence()), "tuple"),
        (ElementPresence(), "tuple"),
    ],
)
def test_blocks_are_checked(block, message):
    with pytest.raises(ValueError, match=f"block 'presence' .*{message}"):
        make_features(presence=block)


def test_a_list_of_columns_makes_numbered_blocks(specimens):
    presence = ElementPresence()
    features = make_features(presence=(["formula", "eds"], presence), ranked=("formula", "drop"))
    assert [name for name, _, _ in features.transformers] == ["presence_1", "presence_2", "ranked"]
    assert all(block is not presence for _, block, _ in features.transformers[:2])
    out = features.fit_transform(specimens)
    assert out["presence_1__fe"].tolist()[::2] == [0.0, 1.0]
    assert out["presence_2__fe"].tolist()[1:] == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"block names \['presence_1'\] appear twice"):
        make_features(presence=(["formula"], presence), presence_1=("eds", presence))


def test_zones_that_are_absent_are_not_measured():
    columns = SpecimenColumns(["spots_1", "spots_2", "formula"])
    image = np.ones((8, 8))
    for name in ("spots", "spots_1"):
        out = columns.transform(pd.DataFrame({name: [image]}))
        assert out.columns.tolist() == ["spots_1", "spots_2", "formula"]
        assert out["spots_1"].iloc[0] is image
        assert out["spots_2"].isna().all()
    second = columns.transform(pd.DataFrame({"spots": [image], "spots_2": [2 * image]}))
    assert second["spots_2"].iloc[0].max() == 2
    with pytest.raises(ValueError, match="'spots' stands for 'spots_1', which X has, too"):
        columns.transform(pd.DataFrame({"spots": [image], "spots_1": [image]}))
    with pytest.raises(ValueError, match=r"unknown columns \['spots_3'\]"):
        columns.fit(pd.DataFrame({"spots_3": [image]}))
    assert "spots_1" not in SpecimenColumns().transform(pd.DataFrame({"spots": [image]}))


def test_no_block():
    with pytest.raises(ValueError, match="at least one block"):
        make_features()


def test_specimen_columns_add_what_was_not_measured():
    columns = SpecimenColumns(["powder", "rings", "formula"])
    scan = np.ones(3)
    X = pd.DataFrame({"formula": ["SiO2", None], "powder": [scan, None]}).set_axis([5, 7])
    out = columns.fit_transform(X)
    assert out.columns.tolist() == ["powder", "rings", "formula"]
    assert out.index.tolist() == [5, 7]
    assert out["powder"].iloc[0] is scan
    assert out["rings"].isna().all()
    assert out["formula"].iloc[0] == "SiO2"
    assert columns.feature_names_in_.tolist() == ["formula", "powder"]
    assert columns.get_feature_names_out().tolist() == ["powder", "rings", "formula"]
    pd.testing.assert_frame_equal(SpecimenColumns(["powder", "rings", "formula"]).transform(X), out)
    assert clone(columns).get_params() == {"columns": ["powder", "rings", "formula"]}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            {"Powder": [None]},
            r"unknown columns \['Powder'\]; known columns are \['powder', 'formula'\].*'powder' for",
        ),
        ({"powder": [None], "image": [None]}, r"unknown columns \['image'\]; known columns"),
        ({"powder": [None], "eds": ["NaCl"]}, r"unknown columns \['eds'\]"),
        ({"powder ": [None]}, r"'powder' for 'powder '"),
        ({"powder": [None], 3: [None]}, r"unknown columns \[3\]"),
        ({}, "no column; known columns are"),
    ],
)
def test_specimen_columns_refuse_unknown_ones(X, message):
    columns = SpecimenColumns(["powder", "formula"])
    with pytest.raises(ValueError, match=message):
        columns.transform(pd.DataFrame(X))
    with pytest.raises(ValueError, match=message):
        columns.fit(pd.DataFrame(X))


def test_specimen_columns_need_a_table():
    for X in (["SiO2"], np.array([["SiO2"]], dtype=object), pd.Series(["SiO2"], name="formula")):
        with pytest.raises(ValueError, match="expected a DataFrame of specimens"):
            SpecimenColumns().transform(X)
    with pytest.raises(ValueError, match="more than once"):
        SpecimenColumns().transform(pd.DataFrame([["Si", "Ge"]], columns=["formula", "formula"]))
    with pytest.raises(ValueError, match="columns must be a list"):
        SpecimenColumns("formula").fit(pd.DataFrame({"formula": ["Si"]}))


def test_specimen_columns_take_polars():
    polars = pytest.importorskip("polars")
    scan = np.ones(3)
    X = polars.DataFrame(
        {"formula": ["SiO2", None], "powder": polars.Series([scan, None], dtype=polars.Object)}
    )
    out = SpecimenColumns(["powder", "rings", "formula"]).transform(X)
    assert out["powder"].iloc[0] is scan
    assert out["formula"].tolist() == ["SiO2", None]
    assert out["rings"].isna().all()
    with pytest.raises(ValueError, match=r"unknown columns \['formula', 'powder'\]"):
        SpecimenColumns(["eds"]).transform(X)


def test_a_pipeline_refuses_a_column_that_it_would_ignore(specimens):
    pipeline = make_pipeline(
        SpecimenColumns(["formula"]),
        make_features(presence=("formula", ElementPresence())),
        DecisionTreeClassifier(random_state=0),
    ).fit(specimens[["formula"]], [1, 2, 3])
    assert pipeline.predict(specimens[["formula"]]).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"unknown columns \['eds'\]; known columns are \['formula'\]"):
        pipeline.predict(specimens[["formula", "eds"]])


def test_equal_first_steps_of_blocks_are_computed_once(monkeypatch):
    q = np.linspace(0.1, 0.9, 2000)
    noise = np.random.default_rng(0).poisson(100, size=(3, 2000))
    X = pd.DataFrame({"powder": [Profile(counts, q=q) for counts in noise]})
    features = make_features(
        diffraction=("powder", PowderProfile(64)),
        lattice=("powder", make_pipeline(PowderProfile(64), StandardScaler())),
        linear=("powder", PowderProfile(64, scale="linear")),
    )
    alone = features.fit(X).transformers_[0][1].transform(X["powder"])
    calls = []
    plain = PowderProfile._features
    monkeypatch.setattr(
        PowderProfile, "_features", lambda self, cells: calls.append(self.scale) or plain(self, cells)
    )
    table = features.transform(X)
    assert calls == ["sqrt", "linear"]
    np.testing.assert_array_equal(table.filter(like="diffraction__"), alone)
    features.transform(X[1:])
    assert len(calls) == 4, "nothing is kept after transform"
