import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.stats import ttest_rel
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from xtalsk.baselines import make_baseline
from xtalsk.compose import make_features
from xtalsk.composition import ElementFractions, ElementPresence, RankedElements
from xtalsk.metrics import make_level_scorers
from xtalsk.model_selection import compare, mcnemar_test, paired_test
from xtalsk.neural import FusionClassifier

CELLS = ["NaCl", "KCl", "LiF", "SiO2", "GeO2", "SnO2", "CaCO3", "FeCO3", "MnCO3"]
SPACE_GROUPS = [225, 225, 225, 154, 154, 136, 167, 167, 167]


class Recorder(ClassifierMixin, BaseEstimator):
    """Classifier that records the arguments of its fits; it has parameters of a network."""

    fits = []

    def __init__(self, branches=None, hierarchy=None):
        self.branches = branches
        self.hierarchy = hierarchy

    def fit(self, X, y, sample_weight=None, groups=None):
        blocks = {name.split("__")[0] for name in X.columns}
        if self.branches and not set(self.branches) <= blocks:
            raise ValueError(f"no block {self.branches}")
        self.fits.append({"blocks": blocks, "groups": groups, "n": len(X)})
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


@pytest.fixture
def recorder():
    Recorder.fits.clear()
    return Recorder()


@pytest.fixture
def data():
    # the column rings has formulas here: the test needs only the name of the column
    X = pd.DataFrame({"rings": CELLS * 4, "formula": CELLS * 4})
    return X, np.array(SPACE_GROUPS * 4), np.arange(36) // 2


@pytest.fixture
def features():
    return make_features(
        diffraction=("rings", RankedElements(2)),
        presence=("formula", ElementPresence()),
        fractions=("formula", ElementFractions()),
    )


@pytest.fixture
def tree(features):
    return make_pipeline(features, DecisionTreeClassifier(random_state=0))


def test_rows_and_columns(data, tree):
    X, y, groups = data
    table = compare({"tree": tree}, X, y, groups=groups, cv=3, hierarchy="space_group")
    assert table["model"].tolist() == ["tree"] * 3 + ["tree (diffraction only)"] * 3 + ["prior"] * 3
    assert table["fold"].tolist() == [0, 1, 2] * 3
    assert (table["n_train"] + table["n_test"] == 36).all()
    assert (table[["fit_time", "predict_time"]] > 0).all(axis=None)
    for level in ("crystal_system", "point_group", "extinction_group", "space_group"):
        for score in ("accuracy", "top5", "balanced_accuracy", "calibration_error"):
            assert table[f"{level}_{score}"].between(0, 1).all()
    assert table.loc[table["model"] == "prior", "fit_time"].max() < 1
    assert table.groupby("model")["space_group_accuracy"].mean()["tree"] == 1


def test_scores_are_those_of_cross_validate(data, tree):
    X, y, groups = data
    cv = StratifiedGroupKFold(3)
    table = compare({"tree": tree}, X, y, groups=groups, cv=cv, hierarchy="space_group")
    expected = cross_validate(tree, X, y, groups=groups, cv=cv, scoring=make_level_scorers("space_group"))
    np.testing.assert_allclose(
        table.loc[table["model"] == "tree", "space_group_calibration_error"],
        expected["test_space_group_calibration_error"],
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_backends_give_the_same(backend, data, tree):
    X, y, groups = data
    table = compare({"tree": tree}, X, y, groups=groups, cv=3)
    with parallel_config(backend):
        parallel = compare({"tree": tree}, X, y, groups=groups, cv=3, n_jobs=2)
    same = [column for column in table.columns if not column.endswith("_time")]
    pd.testing.assert_frame_equal(parallel[same], table[same])


def test_derived_models_see_one_modality(data, features, recorder):
    X, y, _ = data
    model = make_pipeline(features, recorder.set_params(branches={"diffraction": 1, "presence": 2}))
    table = compare({"net": model}, X, y, cv=2, chemistry_only=True)
    assert list(table["model"].unique()) == [
        "net", "net (diffraction only)", "net (chemistry only)", "prior"
    ]  # fmt: skip
    blocks = [fit["blocks"] for fit in Recorder.fits]
    assert blocks[::2] == [
        {"diffraction", "presence", "fractions"},
        {"diffraction"},
        {"presence", "fractions"},
    ]
    assert model.get_params()["recorder__branches"] == {"diffraction": 1, "presence": 2}
    assert len(features.transformers) == 3


def test_numbered_columns_of_one_modality_are_diffraction(data, recorder):
    X, y, _ = data
    X = X.assign(spots_1=X["rings"], spots_2=X["rings"])
    features = make_features(
        first=("spots_1", RankedElements(2)),
        second=("spots_2", RankedElements(2)),
        presence=("formula", ElementPresence()),
    )
    table = compare({"net": make_pipeline(features, recorder)}, X, y, cv=2, chemistry_only=True)
    assert list(table["model"].unique()) == [
        "net", "net (diffraction only)", "net (chemistry only)", "prior"
    ]  # fmt: skip
    blocks = [fit["blocks"] for fit in Recorder.fits]
    assert blocks[::2] == [{"first", "second", "presence"}, {"first", "second"}, {"presence"}]


def test_specimens_without_the_modality_get_the_prior(data, features):
    X, y, groups = data
    X = X.assign(rings=X["rings"].where(np.arange(36) % 4 > 0))
    network = FusionClassifier(max_epochs=2, hidden_size=8, early_stopping=True, device="cpu", random_state=0)
    scorers = Probabilities()
    compare({"net": make_pipeline(features, network)}, X, y, groups=groups, cv=2, scoring=scorers)
    fused, single = scorers.seen[:2], scorers.seen[2:4]
    for (classes, proba, frequencies, rows), whole in zip(single, fused, strict=True):
        missing = rows % 4 == 0
        np.testing.assert_allclose(proba[missing], np.tile(frequencies, (missing.sum(), 1)))
        assert (np.abs(proba[~missing] - frequencies) > 1e-3).any(axis=1).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
        assert classes.tolist() == whole[0].tolist()


class Probabilities:
    """A scorer that keeps the probabilities it sees, with the frequencies of the labels in training."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, X, y):
        train = np.setdiff1d(np.arange(36), X.index)
        frequencies = [np.mean(np.array(SPACE_GROUPS * 4)[train] == c) for c in model.classes_]
        self.seen.append((model.classes_, model.predict_proba(X), frequencies, X.index.to_numpy()))
        return {"n": len(model.predict(X))}


def test_models_of_plain_matrices():
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 3
    models = {"tree": DecisionTreeClassifier(), "frequent": DummyClassifier(strategy="prior")}
    table = compare(models, X, y, cv=2)
    assert list(table["model"].unique()) == ["tree", "frequent"]
    assert "label_accuracy" in table


def test_lists_of_columns_are_understood(data):
    X, y, _ = data
    features = ColumnTransformer([("a", RankedElements(1), ["rings"]), ("b", ElementPresence(), ["formula"])])
    table = compare({"tree": make_pipeline(features, DecisionTreeClassifier())}, X, y, cv=2)
    assert list(table["model"].unique()) == ["tree", "tree (diffraction only)", "prior"]


def test_nothing_is_derived_twice(data, features, tree):
    X, y, _ = data
    alone = make_pipeline(
        make_features(diffraction=("rings", RankedElements(2))), DecisionTreeClassifier(random_state=0)
    )
    chemistry = make_pipeline(make_features(presence=("formula", ElementPresence())), DummyClassifier())
    table = compare({"tree": tree, "alone": alone, "chemistry": chemistry}, X, y, cv=2)
    assert list(table["model"].unique()) == ["tree", "alone", "chemistry", "prior"]
    named = compare({"tree": tree, "tree (diffraction only)": chemistry}, X, y, cv=2)
    assert list(named["model"].unique()) == ["tree", "tree (diffraction only)", "prior"]


def test_baselines_on_all_blocks(data, features, recorder):
    X, y, groups = data
    models = {"a": make_pipeline(features, recorder), "b": make_pipeline(features, recorder)}
    table = compare(models, X, y, groups=groups, cv=3, baselines=["extra_trees"])
    trees = "extra_trees on the blocks of a"
    assert {name for name in table["model"] if "extra" in name} == {trees, f"{trees} (diffraction only)"}
    expected = make_pipeline(features, make_baseline("extra_trees", random_state=0))
    scores = compare({"trees": expected}, X, y, groups=groups, cv=3)
    mean, by_hand = table.groupby("model").mean(), scores.groupby("model").mean()
    assert mean.loc[trees, "label_accuracy"] == by_hand.loc["trees", "label_accuracy"]
    with pytest.raises(ValueError, match="name must be one of"):
        compare(models, X, y, groups=groups, cv=3, baselines=["trees"])


def test_baselines_on_a_table_of_features(data, features, recorder):
    X, y, groups = data
    models, table = {"a": recorder, "b": recorder}, features.fit_transform(X)
    table = compare(models, table, y, groups=groups, cv=3, baselines="extra_trees")
    assert list(table["model"].unique()) == ["extra_trees on all features", "a", "b", "prior"]
    with pytest.raises(ValueError, match=r"baselines need a model with blocks.*\['a'\] has such blocks"):
        compare({"a": recorder}, X, y, groups=groups, cv=3, baselines=["extra_trees"])


class Numbered(Recorder):
    """Classifier that records which space group each of the labels of its fits stands for."""

    def __init__(self, space_groups=None):
        self.space_groups = space_groups

    def fit(self, X, y):
        self.fits.append(np.asarray(self.space_groups)[np.unique(y)].tolist())
        self.classes_ = np.unique(y)
        return self


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_votes_know_the_space_groups_of_their_fold(n_jobs, data, recorder):
    y = data[1]
    splits = [(np.flatnonzero(y != rare), np.flatnonzero(y == rare)) for rare in (136, 154)]
    vote = VotingClassifier([("network", Numbered(np.unique(y)))], voting="soft")
    with parallel_config("threading"):
        compare({"vote": vote}, np.zeros((36, 1)), y, cv=splits, n_jobs=n_jobs)
    assert sorted(recorder.fits) == [[136, 167, 225], [154, 167, 225]]


def test_blocks_dropped_already_do_not_count(data, features):
    X, y, _ = data
    features.set_params(presence="drop", fractions="drop")
    table = compare({"tree": make_pipeline(features, DecisionTreeClassifier())}, X, y, cv=2)
    assert list(table["model"].unique()) == ["tree", "prior"]


def test_groups_reach_the_classifier(data, features, recorder):
    X, y, groups = data
    compare({"net": make_pipeline(features, recorder)}, X, y, groups=groups, cv=GroupKFold(3))
    assert len(Recorder.fits) == 6
    splits = list(GroupKFold(3).split(X, y, groups))
    for fit, (train, _) in zip(Recorder.fits, splits + splits, strict=True):
        np.testing.assert_array_equal(fit["groups"], groups[train])


def test_metadata_routing_does_not_matter(data, features, recorder):
    X, y, groups = data
    model = make_pipeline(features, recorder)
    with config_context(enable_metadata_routing=True):
        table = compare({"net": model}, X, y, groups=groups, cv=GroupKFold(3))
    assert len(table) == 9
    assert all(fit["groups"] is not None for fit in Recorder.fits)


def test_the_network_among_the_models(data, features):
    X, y, groups = data
    X = X.assign(formula=X["formula"].where(np.arange(36) % 5 > 0))
    network = FusionClassifier(
        "space_group",
        branches={"presence": "drop"},
        hidden_size=8,
        embedding_size=4,
        max_epochs=3,
        modality_dropout=0.3,
        early_stopping=True,
        validation_fraction=0.3,
        device="cpu",
        random_state=0,
    )
    table = compare({"fusion": make_pipeline(features, network)}, X, y, groups=groups, cv=2)
    assert list(table["model"].unique()) == ["fusion", "fusion (diffraction only)", "prior"]
    scores = table.filter(regex="accuracy|top5|error")
    assert scores.shape == (6, 16)
    assert ((scores >= 0) & (scores <= 1)).all(axis=None)


def test_searches_are_compared(data, features, recorder):
    X, y, groups = data
    search = GridSearchCV(
        make_pipeline(features, recorder),
        {"recorder__branches": [None], "columntransformer__diffraction": [RankedElements(1)]},
        cv=GroupKFold(2),
    )
    table = compare({"search": search}, X, y, groups=groups, cv=GroupKFold(2))
    assert list(table["model"].unique()) == ["search", "search (diffraction only)", "prior"]
    assert {fit["n"] for fit in Recorder.fits} == {18, 8, 10}
    search.set_params(param_grid={"columntransformer__presence": [ElementPresence(0.1)]})
    with pytest.warns(UserWarning, match="no derived row"):
        table = compare({"search": search}, X, y, groups=groups, cv=GroupKFold(2))
    assert list(table["model"].unique()) == ["search", "prior"]


def test_groups_must_not_straddle(data, tree):
    X, y, groups = data
    with (
        pytest.warns(UserWarning, match="groups parameter is ignored"),
        pytest.raises(ValueError, match=r"in fold 0 the group .* StratifiedGroupKFold"),
    ):
        compare({"tree": tree}, X, y, groups=groups, cv=KFold(3, shuffle=True, random_state=0))


def test_a_failing_model_is_named(data, tree):
    X, y, _ = data
    X.loc[4, "formula"] = "Zz"
    alone = make_pipeline(make_features(rings=("rings", ElementPresence())), DecisionTreeClassifier())
    with pytest.raises(
        RuntimeError, match=r"the model 'broken' failed: .* of column formula: .*'Zz'"
    ) as caught:
        compare({"works": alone, "broken": tree}, X, y, cv=2)
    assert isinstance(caught.value.__cause__, ValueError)


def test_labels_unseen_in_training_and_other_labels(data, tree):
    X, y, _ = data
    one = np.where(np.arange(36) == 3, 1, y)
    with pytest.warns(UserWarning, match="least populated class"):
        table = compare({"tree": tree}, X, one, cv=3)
    assert np.isfinite(table.drop(columns="model")).all(axis=None)
    named = compare({"tree": tree}, X, np.array([f"sg{n}" for n in y]), cv=2)
    assert "label_accuracy" in named
    numbered = compare({"tree": tree}, X, y, cv=2)
    assert "label_top5" in numbered


LEVELS_OF_SYMMETRY, PLAIN_LABELS = "space_group_accuracy", "label_accuracy"


def wrap_in_search(model):
    return GridSearchCV(model, {"recorder__branches": [None]}, cv=2)


@pytest.mark.parametrize("wrap", [lambda model: model, wrap_in_search])
@pytest.mark.parametrize(
    ("of_model", "of_compare", "score"),
    [
        (None, None, PLAIN_LABELS),
        ("space_group", None, LEVELS_OF_SYMMETRY),
        (None, "space_group", LEVELS_OF_SYMMETRY),
    ],
)
def test_scored_levels(data, features, recorder, tree, wrap, of_model, of_compare, score):
    X, y, _ = data
    network = wrap(make_pipeline(features, recorder.set_params(hierarchy=of_model)))
    table = compare({"tree": tree, "network": network}, X, y, cv=2, hierarchy=of_compare)
    assert {LEVELS_OF_SYMMETRY, PLAIN_LABELS} & set(table.columns) == {score}
    assert table[score].notna().all()


def test_hierarchy_is_checked(data, tree):
    X, y, _ = data
    with pytest.raises(ValueError, match="hierarchy must be one of"):
        compare({"tree": tree}, X, y, hierarchy="point_group")
    with pytest.raises(ValueError, match="space groups must be integers"):
        compare({"tree": tree}, X, np.array([f"sg{n}" for n in y]), hierarchy="space_group")


def test_other_scoring(data, tree):
    X, y, _ = data
    assert compare({"tree": tree}, X, y, cv=2, scoring="accuracy")["score"].between(0, 1).all()
    table = compare({"tree": tree}, X, y, cv=2, scoring=["accuracy", "balanced_accuracy"])
    assert {"accuracy", "balanced_accuracy"} <= set(table.columns)


def test_bad_input(data, tree):
    X, y, groups = data
    with pytest.raises(ValueError, match="at least one model"):
        compare({}, X, y)
    with pytest.raises(ValueError, match="'prior' is the name"):
        compare({"prior": tree}, X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare({"tree": tree}, X, y[1:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare({"tree": tree}, X, y, groups=groups[1:])


def make_table(a, b, n_train=200, n_test=50):
    rows = [("a", fold, value) for fold, value in enumerate(a)] + [("b", f, v) for f, v in enumerate(b)]
    return pd.DataFrame(rows, columns=["model", "fold", "acc"]).assign(n_train=n_train, n_test=n_test)


def test_paired_test_by_hand():
    a, b = np.array([0.7, 0.75, 0.72, 0.71, 0.74]), np.array([0.69, 0.7, 0.69, 0.70, 0.7])
    result = paired_test(make_table(a, b), "a", "b", "acc")
    plain = ttest_rel(a, b)
    # the correction multiplies the variance of the mean by 1 + J n_test / n_train
    assert result.statistic == pytest.approx(plain.statistic / np.sqrt(1 + 5 * 50 / 200))
    assert result.pvalue > plain.pvalue
    assert result.degrees_of_freedom == 4
    low, high = result.confidence_interval
    assert (low + high) / 2 == pytest.approx(result.difference) == pytest.approx((a - b).mean())
    vanishing = paired_test(make_table(a, b, n_test=0), "a", "b", "acc")
    assert vanishing.pvalue == pytest.approx(plain.pvalue)
    reverse = paired_test(make_table(a, b).iloc[::-1], "b", "a", "acc")
    assert reverse.statistic == pytest.approx(-result.statistic)


def test_paired_test_keeps_its_size_where_the_plain_test_does_not():
    """Two equally good models, repeated cross-validation: 5% false alarms are asked for."""
    corrected, plain = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
        cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=4, random_state=seed)
        a, b = (
            [
                (y[train][nearest(X[train][:, c], X[test][:, c])] == y[test]).mean()
                for train, test in cv.split(X, y)
            ]
            for c in ([0, 1], [2, 3])
        )
        corrected.append(paired_test(make_table(a, b, n_train=40, n_test=20), "a", "b", "acc").pvalue)
        plain.append(ttest_rel(a, b).pvalue)
    assert np.mean(np.array(corrected) < 0.05) <= 0.1
    assert np.mean(np.array(plain) < 0.05) > 0.15


def nearest(train, test):
    return ((test[:, np.newaxis] - train) ** 2).sum(axis=2).argmin(axis=1)


def test_paired_test_of_constant_differences():
    same = paired_test(make_table([0.5] * 3, [0.5] * 3), "a", "b", "acc")
    assert (same.pvalue, same.statistic) == (1, 0)
    assert paired_test(make_table([0.5] * 3, [0.25] * 3), "a", "b", "acc").pvalue == 0


def test_paired_test_bad_input():
    table = make_table([0.5, 0.6], [0.4, 0.3])
    with pytest.raises(ValueError, match="no metric 'f1'"):
        paired_test(table, "a", "b", "f1")
    with pytest.raises(ValueError, match="no model 'c'"):
        paired_test(table, "a", "c", "acc")
    with pytest.raises(ValueError, match="two folds"):
        paired_test(make_table([0.5], [0.4]), "a", "b", "acc")


def test_mcnemar_test_by_hand():
    y = np.repeat([14, 15, 62], 4)
    a = y.copy()
    a[0] = 15
    b = np.where(np.arange(12) < 7, 2, y)
    test = mcnemar_test(y, a, b)
    assert (test.only_a, test.only_b) == (6, 0)
    assert test.difference == pytest.approx(6 / 12)
    assert test.pvalue == pytest.approx(2 * 0.5**6)
    assert mcnemar_test(y, b, a) == (0, 6, -test.difference, test.pvalue)
    assert mcnemar_test(y.astype(str), a.astype(str), b.astype(str), level=None) == test
    assert mcnemar_test(None, a == y, b == y) == test
    assert mcnemar_test(y, a, a) == (0, 0, 0, 1)


def test_mcnemar_test_at_coarser_levels():
    y, a, b = [14, 62, 225], [15, 63, 216], [2, 166, 227]
    assert mcnemar_test(y, a, b) == (0, 0, 0, 1)
    assert mcnemar_test(y, a, b, level="crystal_system")[:2] == (2, 0)
    assert mcnemar_test(y, a, b, level="point_group")[:2] == (2, 1)


@pytest.mark.parametrize("no_answer", [[0, 62, 225], [None, 62, 225], [np.nan, 62, 225]])
def test_no_answer_counts_as_wrong(no_answer):
    assert mcnemar_test([14, 62, 225], [14, 62, 225], no_answer)[:2] == (1, 0)
    assert mcnemar_test(["a", "b"], ["a", "b"], [None, "b"], level=None)[:2] == (1, 0)
    # the label with which a missing answer is filled in is no answer either
    assert mcnemar_test([1, 62, 225], no_answer, [1, 62, 225])[:2] == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([14, 2], [14, 2], [14]), "inconsistent numbers of samples"),
        (([14], [14], [[14]]), r"predicted_b must have shape \(n_samples,\), got \(1, 1\)"),
        (([14, 2], [14, 2], [0, 300]), "predicted_b: .* got 300 at position 1"),
        (([14], [True], [14]), "predicted_a must be space groups, got booleans"),
        ((None, [14], [14]), "predicted_a must be booleans"),
        (([], [], []), "at least one specimen"),
    ],
)
def test_mcnemar_test_bad_input(arguments, match):
    with pytest.raises(ValueError, match=match):
        mcnemar_test(*arguments)
