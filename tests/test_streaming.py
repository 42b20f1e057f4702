"""Streams of specimens: the arithmetic of the transformers, repeatable chunks, training that resumes."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from xtalsk import (
    BrokenEntryWarning,
    DiffractionImage,
    ElementFractions,
    ElementPresence,
    FormulaConditions,
    FusionClassifier,
    IndexingScores,
    PeakHistogram,
    PowderConditions,
    PowderProfile,
    Profile,
    RadialProfile,
    RankedElements,
    RingConditions,
    load_amcsd,
    make_features,
)
from xtalsk.streaming import SpecimenStream, fit_stream

CONDITIONS = PowderConditions(two_theta=(10, 80, 0.05), peak_counts=1e3)


@pytest.fixture(scope="module")
def crystals():
    return load_amcsd()[:30]


def make_stream(crystals, chemistry=True, **options):
    blocks = {"diffraction": ("powder", PowderProfile(n_bins=128, q_range=(0.05, 0.85)))}
    if chemistry:
        blocks |= {"fractions": ("formula", ElementFractions()), "presence": ("formula", ElementPresence())}
    options = {"conditions": {"powder": CONDITIONS}, "chunk_size": 64, "random_state": 0} | options
    return SpecimenStream(crystals, make_features(**blocks), **options)


def test_powder_features_are_those_of_the_transformer():
    rng = np.random.default_rng(0)
    axis = np.arange(10, 80, 0.05)
    counts = rng.poisson(50 + 500 * np.exp(-(((axis - 30) / 0.2) ** 2)), size=(3, len(axis)))
    powder = PowderProfile(n_bins=200, smoothing=0.002).fit([None])
    cells = [Profile(c, two_theta=axis, wavelength=1.54) for c in counts]
    q = torch.from_numpy(2 * np.sin(np.radians(axis / 2)) / 1.54)
    features = powder._batched(q)(torch.from_numpy(counts).float()).numpy()
    np.testing.assert_allclose(features, powder.transform(cells), atol=2e-3)
    assert np.isnan(features).any()
    assert not np.isnan(features).all()


def test_ring_features_are_those_of_the_transformer():
    y, x = np.mgrid[:64, :64]
    q = np.hypot(y - 30.3, x - 32.6) * 0.03
    images = np.random.default_rng(0).poisson(
        [300 * np.exp(-(((q - r) / 0.04) ** 2)) + 20 for r in (0.3, 0.5)]
    )
    radial = RadialProfile(n_bins=64).fit([None])
    cells = [DiffractionImage(image, pixel_size=0.03) for image in images]
    features = radial._batched(0.03)(torch.from_numpy(images).float()).numpy()
    np.testing.assert_allclose(features, radial.transform(cells), atol=5e-5)


def test_chemistry_features_are_those_of_the_transformers(crystals):
    features = make_features(fractions=("formula", ElementFractions()), ranked=("formula", RankedElements()))
    exact = {"formula": "ideal"}
    X, y = SpecimenStream(crystals, features, conditions=exact, chunk_size=40, random_state=1).chunk(0)
    table = pd.DataFrame({"formula": crystals.formulas.astype(object)})
    exact_features = features.fit_transform(table).to_numpy()
    for row, label in zip(X.numpy(), y, strict=True):
        apart = np.nanmax(np.abs(exact_features - row), axis=1)
        assert apart.min() < 1e-3
        assert crystals.space_groups[apart.argmin()] == label


def test_each_formula_of_a_mixture_has_its_own_conditions(crystals):
    copper = FormulaConditions(grid=0.5, grid_elements=(("Cu", 1),), unseen_as_nan=1, lightest=5)
    features = make_features(fractions=("formula", ElementFractions()), ranked=("formula", RankedElements()))
    options = {"chunk_size": 256, "random_state": 0, "shares": {"formula": [3, 1]}}
    stream = SpecimenStream(crystals, features, conditions={"formula": [copper, "ideal"]}, **options)
    table = pd.DataFrame(stream.chunk(0)[0].numpy(), columns=stream.feature_names_)
    on_grid = table["fractions__li"].isna()
    assert 0.65 < on_grid.mean() < 0.85
    assert on_grid.head(20).nunique() == 2
    assert (table.loc[on_grid, "fractions__cu"] > 0.4).all()
    assert (table.loc[~on_grid, "fractions__cu"] == 0).any()
    assert table["ranked__rank1_z"].notna().all()


def test_a_stream_of_formulas_alone_has_no_empty_row(crystals):
    nothing = {"formula": FormulaConditions(lightest=98)}
    features = make_features(fractions=("formula", ElementFractions()))
    X, _ = SpecimenStream(crystals, features, conditions=nothing, chunk_size=64, random_state=0).chunk(0)
    np.testing.assert_allclose(X.sum(1), 1, rtol=1e-5)
    assert (
        make_stream(crystals, conditions=nothing | {"powder": CONDITIONS}).chunk(0)[0][:, 128:].isnan().all()
    )


def test_pipelines_of_transformers_work_in_streams(crystals):
    profile, lattice = PowderProfile(n_bins=256, q_range=(0.05, 0.85)), IndexingScores((0.05, 0.85))
    features = make_features(
        diffraction=("powder", profile), lattice=("powder", make_pipeline(profile, lattice))
    )
    stream = SpecimenStream(
        crystals, features, conditions={"powder": CONDITIONS}, chunk_size=6, random_state=0
    )
    X, _ = stream.chunk(0)
    X = X.numpy()
    expected = IndexingScores((0.05, 0.85)).fit_transform(X[:, :256])
    np.testing.assert_allclose(X[:, 256:], expected, atol=1e-3)
    assert (expected != 0).any(axis=1).all()


def test_chunks_repeat_and_differ(crystals):
    stream = make_stream(crystals)
    (X0, y0), (X1, y1) = stream.chunk(0), stream.chunk(1)
    again, labels = make_stream(crystals).chunk(0)
    assert torch.equal(X0.nan_to_num(-1), again.nan_to_num(-1))
    assert (labels == y0).all()
    assert not torch.equal(X0.nan_to_num(-1), X1.nan_to_num(-1))
    assert (y0 != y1).any()


def test_several_conditions_are_mixed(crystals):
    short = PowderConditions(two_theta=(20, 60, 0.05), peak_counts=1e3)
    options = {"conditions": {"powder": [CONDITIONS, short]}, "chunk_size": 1024}
    stream = make_stream(crystals, chemistry=False, **options)
    covered = (~stream.chunk(0)[0].isnan()).sum(1)
    assert len(covered.unique()) == 2
    stream = make_stream(crystals, chemistry=False, shares={"powder": [1, 0]}, **options)
    assert (~stream.chunk(0)[0].isnan()).sum(1).unique() == covered.max()


def test_weights_choose_crystals(crystals):
    groups = crystals.space_groups
    first, second = 0, int(np.flatnonzero(groups != groups[0])[0])
    weights = np.zeros(len(crystals))
    weights[[first, second]] = 1, 3
    stream = make_stream(crystals, weights=weights, chunk_size=512)
    _, y = stream.chunk(0)
    assert set(y) == set(stream.classes_) == {groups[first], groups[second]}
    assert 0.68 < (y == groups[second]).mean() < 0.82


def test_missing_never_takes_all(crystals):
    stream = make_stream(crystals, missing={"powder": 0.5, "formula": 0.5}, chunk_size=512)
    X, _ = stream.chunk(0)
    is_profile = np.char.startswith(stream.feature_names_.astype(str), "diffraction")
    is_measured = np.stack([(~X[:, part].isnan()).any(1).numpy() for part in (is_profile, ~is_profile)])
    assert is_measured.any(0).all()
    assert 0.2 < (~is_measured[0]).mean() < 0.6
    assert 0.2 < (~is_measured[1]).mean() < 0.6


def test_crystals_without_a_line_are_named(crystals):
    narrow = PowderConditions(two_theta=(5, 14, 0.05), peak_counts=1e3)
    with pytest.warns(BrokenEntryWarning, match="no line between"):
        stream = make_stream(crystals, conditions={"powder": narrow})
    assert 0 < len(stream.rows_) < len(crystals)
    stream.chunk(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"conditions": {"powder": RingConditions()}},
            "conditions of 'powder' must be a PowderConditions .* got RingConditions",
        ),
        ({"conditions": {"powder": []}}, "conditions of 'powder' must hold at least one PowderConditions"),
        ({"conditions": {"powder": PowderConditions}}, "got the class PowderConditions itself"),
        ({"shares": [1, 2]}, "shares must be a dict from a column"),
        ({"shares": {"powder": [1, 2]}}, "shares of powder"),
        ({"weights": [1.0, 2.0]}, "one for each crystal"),
        ({"missing": {"rings": 0.5}}, "missing must give"),
        ({"weights": [0.0] * 30}, "weights are 0"),
        ({"conditions": {"powders": "harsh"}}, "conditions and shares name"),
        ({"shares": {"rings": [1]}}, "conditions and shares name"),
        ({"conditions": {"formula": []}}, "conditions of 'formula' must hold at least one FormulaConditions"),
        ({"conditions": {"formula": "harsh"}}, "must be a FormulaConditions or one of .*'microscope'"),
        ({"shares": {"formula": [1, 2]}}, "shares of formula must be 1 numbers"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_bad_arguments(crystals, options, message):
    with pytest.raises(ValueError, match=message):
        make_stream(crystals, **options)


def test_unknown_columns_and_transformers(crystals):
    with pytest.raises(ValueError, match="columns"):
        SpecimenStream(crystals, make_features(a=("eds", ElementFractions())))
    with pytest.raises(ValueError, match="'marks': PeakHistogram cannot"):
        SpecimenStream(crystals, make_features(marks=("powder", PeakHistogram())))


def make_model(**options):
    sizes = {"hidden_size": 16, "embedding_size": 8, "n_filters": 4, "batch_size": 32}
    return FusionClassifier(hierarchy="space_group", device="cpu", random_state=0, **sizes, **options)


def test_training_resumes_where_it_was_left(crystals, tmp_path):
    stream, model = make_stream(crystals), make_model(weight_averaging=0.9)
    whole = fit_stream(model, stream, 64 * 6, n_uses=2)

    class Stopped(Exception):
        pass

    def stop(trained, n_rendered):
        if n_rendered == 64 * 4:
            raise Stopped

    file = tmp_path / "state"
    with pytest.raises(Stopped):
        fit_stream(model, stream, 64 * 6, n_uses=2, checkpoint=file, checkpoint_every=2, callback=stop)
    resumed = fit_stream(model, stream, 64 * 6, n_uses=2, checkpoint=file)
    X, _ = stream.chunk(99)
    table = pd.DataFrame(X.numpy(), columns=stream.feature_names_)
    np.testing.assert_array_equal(whole.predict_proba(table), resumed.predict_proba(table))
    refused = [
        (model, stream, 3, "n_uses"),
        (make_model(), stream, 2, "parameters of the model"),
        (model, make_stream(crystals, random_state=1), 2, "stream"),
        (model, make_stream(crystals[:29]), 2, "stream"),
        (model, make_stream(crystals, conditions={"powder": "typical"}), 2, "stream"),
        (model, make_stream(crystals, chemistry=False), 2, "stream"),
    ]
    for other, source, n_uses, what in refused:
        with pytest.raises(ValueError, match=f"another training: {what} differ"):
            fit_stream(other, source, 64 * 6, n_uses=n_uses, checkpoint=file)
    again = fit_stream(model, make_stream(crystals), 64 * 6, n_uses=2, checkpoint=file)
    np.testing.assert_array_equal(again.predict_proba(table), resumed.predict_proba(table))


def test_what_needs_all_the_data_is_refused(crystals):
    for option in ({"early_stopping": True}, {"sampling": "balanced"}):
        with pytest.raises(ValueError, match="a stream needs"):
            fit_stream(make_model(**option), make_stream(crystals), 64)


def test_it_learns_and_makes_a_pipeline(crystals, tmp_path):
    stream = make_stream(crystals, chunk_size=256)
    model = fit_stream(make_model(), stream, 256 * 12, n_uses=2)
    X, y = stream.chunk(1000)
    table = pd.DataFrame(X.numpy(), columns=stream.feature_names_)
    assert model.score(table, y) > 0.45 > 2 * np.bincount(y).max() / len(y)
    joblib.dump(make_pipeline(stream.features_, model), tmp_path / "pipeline.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        specimens = pd.DataFrame({"powder": [None], "formula": ["SiO2"]})
        assert joblib.load(tmp_path / "pipeline.joblib").predict(specimens).shape == (1,)


def test_some_specimens_are_compounds_of_which_only_the_formula_is_known():
    features = make_features(
        diffraction=("powder", PowderProfile(64)), fractions=("formula", ElementFractions())
    )
    compounds = pd.DataFrame({"formula": ["XeF2", "XeF4"], "space_group": [139, 14]})
    crystals = load_amcsd()[:20]
    share = {"compounds": compounds, "compound_share": 0.3}
    settings = {"missing": {"formula": 0.9}, "chunk_size": 512, "random_state": 0, "device": "cpu"}
    stream = SpecimenStream(crystals, features, **settings, **share)
    X, y = stream.chunk(0)
    table = pd.DataFrame(X.numpy(), columns=stream.feature_names_)
    is_compound = np.isin(y, [14, 139]) & (table["fractions__xe"] > 0)
    assert 0.25 < is_compound.mean() < 0.35
    assert table.loc[is_compound].filter(like="diffraction").isna().all(axis=None)
    assert table.loc[~is_compound].filter(like="diffraction").notna().any(axis=1).mean() > 0.8
    assert table.notna().any(axis=1).all()
    xenon = table.loc[is_compound, "fractions__xe"].to_numpy()
    assert ((xenon > 0.26) == (y[is_compound] == 139)).mean() > 0.9
    assert set(stream.classes_) == {*crystals.space_groups, 14, 139}
    plain = SpecimenStream(crystals, features, **settings)
    assert stream.fingerprint_ != plain.fingerprint_
    with pytest.raises(ValueError, match="lacks \\['space_group'\\]"):
        SpecimenStream(crystals, features, compounds=compounds[["formula"]])
    alone = make_features(diffraction=("powder", PowderProfile(64)))
    with pytest.raises(ValueError, match="needs features of the column 'formula'"):
        SpecimenStream(crystals, alone, compounds=compounds)
