"""`LibraryMatch` at several line widths and scales, and libraries of rings from lines."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from xtalsk import (
    ElementFractions,
    IndexingScores,
    RadialProfile,
    RingConditions,
    load_amcsd,
    make_features,
    make_library,
    make_specimens,
)
from xtalsk.library import LibraryBlend, LibraryMatch
from xtalsk.library._lines import takes_lines
from xtalsk.library._profiles import pack
from xtalsk.library._scaled import (
    Grid,
    ScaledComparison,
    ScaledLibrary,
    arrange_profiles,
    broaden,
    contrast,
    stretch,
    to_intensity,
)

BROAD = replace(RingConditions.typical(), ring_width=0.045, calibration=0.03, image_size=128)


def make_tables(conditions, n_every=90, **blocks):
    """Return features, library (X, y, entries) and the features of measurements of the same crystals."""
    crystals = load_amcsd()[::n_every]
    features = make_features(diffraction=("rings", RadialProfile(256)), **blocks)
    library = make_library(crystals, features, random_state=0)
    specimens, y, _ = make_specimens(crystals, "rings", conditions={"rings": conditions}, random_state=1)
    specimens["formula"] = library[2]["formula"].to_numpy()
    return library, features.transform(specimens), y


@pytest.fixture(scope="module")
def broad():
    return make_tables(BROAD)


def test_broad_rings_at_a_wrong_scale_are_named(broad):
    library, measured, y = broad
    match = LibraryMatch().fit(*library)
    assert match.score(measured, y) > 0.8
    assert match.score(measured, y) > LibraryMatch(line_widths=None).fit(*library).score(measured, y) + 0.3
    assert LibraryMatch(max_scale_error=0).fit(*library).score(measured, y) < match.score(measured, y) - 0.2


def test_the_best_entry_is_that_of_profiles_without_rounding(broad, monkeypatch):
    X = pd.concat([broad[0][0][:20]] * 5, ignore_index=True)
    X *= np.random.default_rng(0).uniform(0.97, 1.03, X.shape)  # entries that differ by less than one byte
    X.attrs = broad[0][0].attrs
    match = LibraryMatch().fit(X, np.arange(len(X)))
    _, library = match._prepared().profiles[0]
    intensity = to_intensity(torch.tensor(X.to_numpy(np.float32)), library.grid.scale)
    lines = [contrast(broaden(intensity, width, library.grid), library.grid) for width in library.widths]
    lines = torch.stack(lines, 1).nan_to_num(-128).numpy()
    stage = library.compare(intensity)
    every = torch.arange(len(X)).expand(len(X), -1)
    exact = library._refine(stage.profiles, lines, every, stage.nearest.long())[0].numpy()
    found = match.candidates(X, n=1)
    assert (found["id"] == exact.argmax(axis=1)).all()
    np.testing.assert_allclose(found["similarity"], exact.max(axis=1), atol=1e-5)
    monkeypatch.setattr(ScaledComparison, "can_refine_exactly", False)
    rounded = LibraryMatch().fit(X, np.arange(len(X))).candidates(X, n=1)
    assert (rounded["id"] != exact.argmax(axis=1)).any()


def test_candidates_show_scale_and_width(broad):
    library, measured, _ = broad
    match = LibraryMatch().fit(*library)
    best = match.candidates(measured, n=1)
    right = best[best["id"].to_numpy() == library[2]["id"].to_numpy()]
    assert len(right) > 0.7 * len(best)
    assert abs(right["scale"].median() - 1) == pytest.approx(0.03, abs=0.006)
    assert right["width"].median() == 0.05
    sharp = match.candidates(library[0], n=1)
    assert abs(sharp["scale"] - 1).max() <= 0.031
    assert (sharp["scale"] == 1).mean() > 0.85
    assert sharp["width"].median() == 0.015
    table = LibraryMatch(line_widths=None).fit(*library).candidates(measured, n=1)
    assert table[["scale", "width"]].isna().all(axis=None)


def test_larger_errors_of_the_scale_cost_more(broad):
    library, measured, _ = broad
    lenient, strict = (LibraryMatch(scale_error=error).fit(*library) for error in (1.0, 0.01))
    assert (strict.similarity(measured) <= lenient.similarity(measured) + 1e-6).all()
    assert np.median(lenient.similarity(measured) - strict.similarity(measured)) > 0.02


def test_results_do_not_depend_on_the_rows_beside(broad):
    library, measured, _ = broad
    match = LibraryMatch().fit(*library)
    together, alone = (
        match.predict_proba(measured),
        [match.predict_proba(measured[i : i + 1]) for i in (3, 40)],
    )
    np.testing.assert_allclose(together[[3, 40]], np.concatenate(alone), atol=1e-5)


def test_widths_need_a_grid(broad):
    (X, y, entries), measured, _ = broad
    plain = pd.DataFrame(X.to_numpy(), columns=X.columns)
    with pytest.raises(ValueError, match=r"need the grid of q.*not known for \['diffraction'\]"):
        LibraryMatch(line_widths=(0.02,)).fit(plain, y, entries)
    assert LibraryMatch(modality="rings").fit(plain, y).candidates(measured, n=1)["scale"].isna().all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"line_widths": "wide"}, 'line_widths must be "auto", None or numbers'),
        ({"line_widths": ()}, "line_widths must be"),
        ({"line_widths": (0.02, -1)}, "line_widths == -1"),
        ({"max_scale_error": 0.5}, "max_scale_error == 0.5"),
        ({"scale_error": 0}, "scale_error == 0"),
    ],
)
def test_wrong_parameters(broad, params, message):
    with pytest.raises(ValueError, match=message):
        LibraryMatch(**params).fit(*broad[0])


def make_scaled(n_entries=7, n_bins=120):
    """Return a library of random lines with gaps, and profiles with gaps."""
    rng = np.random.default_rng(0)
    lines = rng.uniform(5, n_bins - 5, size=(n_entries, 6, 1))
    profiles = torch.from_numpy(np.exp(-((np.arange(n_bins) - lines) ** 2) / 4).sum(axis=1)).float()
    profiles[1, :30] = profiles[2, 50:60] = torch.nan
    grid, widths = Grid(20, 0.01, "sqrt"), (0.02, 0.05)
    library = ScaledLibrary(arrange_profiles(pack(profiles), grid, widths), grid, widths, 0.04, 15.0)
    measured = profiles[:4].square() + 0.1 * torch.from_numpy(rng.uniform(size=(4, n_bins))).float()
    measured[0, 100:] = torch.nan
    return library, measured


def test_the_compiled_refinement_finds_what_a_plain_search_finds():
    library, measured = make_scaled()
    first = library.compare(measured)
    candidates = torch.arange(7).repeat(4, 1)
    cosine, scale, width = first.refine(candidates, 0, 0)
    stretched = stretch(contrast(measured, library.grid), library.scales, library.grid.first).numpy()
    for row in range(4):
        for entry in range(7):
            s, w = (
                np.argmin(abs(library.scales - scale[row, entry].item())),
                library.widths == width[row, entry].item(),
            )
            a, b = stretched[row, s], library.arranged["widths"][entry, w][0].astype(float)
            both = ~np.isnan(a) & (b != -128)
            expected = (
                a[both] @ b[both] / np.linalg.norm(a[both]) / np.linalg.norm(b[both]) - library.costs[s]
            )
            assert cosine[row, entry].item() == pytest.approx(expected, abs=1e-5)
    assert (cosine.argmax(1) == torch.arange(4)).all()
    assert (cosine <= 1 + 1e-6).all()


def test_candidates_are_compared_as_all_entries_are():
    library, measured = make_scaled(n_entries=40)
    everything = library.compare(measured)
    is_candidate = np.zeros((4, 40), dtype=bool)
    is_candidate[:3, [3, 17, 39]] = is_candidate[3] = True
    few = library.compare(measured, is_candidate)
    assert few.is_complete.tolist() == [False, False, False, True]
    for table in ("cosine", "nearest"):
        expected = getattr(everything, table).numpy()
        np.testing.assert_allclose(
            getattr(few, table).numpy()[is_candidate], expected[is_candidate], atol=1e-6
        )
        again = getattr(few.of(np.array([1, 3])), table).numpy()
        np.testing.assert_allclose(again, expected[[1, 3]], atol=1e-6)


def test_stretched_profiles_keep_lines_at_their_scale():
    q = 20.5 + torch.arange(120)
    profile = torch.exp(-(((q - 80 * 1.03) / 2) ** 2))[None]
    stretched = stretch(profile, [0.97, 1.0, 1.03], 20)
    assert q[stretched[0, 2].nan_to_num(0).argmax()] == pytest.approx(80, abs=0.5)
    torch.testing.assert_close(stretched[:, 1], profile)
    assert stretched[0, 0, 0].isnan()
    assert stretched[0, 2, -1].isnan()


def test_a_library_from_lines_is_like_one_from_ideal_images():
    crystals = load_amcsd()[::400]
    chain = make_pipeline(RadialProfile(), IndexingScores())
    features = make_features(diffraction=("rings", RadialProfile()), lattice=("rings", chain))
    X, _, _ = make_library(crystals, features, random_state=0)
    assert X.attrs["grids"]["diffraction"] == {"step": pytest.approx(1.2 / 512), "scale": "sqrt"}
    assert np.isfinite(X.filter(like="diffraction__")).all(axis=None)
    assert X.filter(like="lattice__").notna().any(axis=1).all()
    specimens, _, _ = make_specimens(crystals, "rings", conditions="ideal", random_state=0)
    images = features.transform(specimens).filter(like="diffraction__").to_numpy()
    lines = X.filter(like="diffraction__").to_numpy()
    both = ~np.isnan(images) & (np.arange(512) < 380)  # the images end at 1 1/Å
    cosines = [
        a[m] @ b[m] / np.linalg.norm(a[m]) / np.linalg.norm(b[m])
        for a, b, m in zip(images, lines, both, strict=True)
    ]
    assert np.median(cosines) > 0.95


def test_transformers_that_need_images():
    assert takes_lines(RadialProfile())
    assert takes_lines(make_pipeline(RadialProfile(), IndexingScores()))
    assert takes_lines(RadialProfile(statistic="median"))
    assert not takes_lines(ElementFractions())


def test_profiles_of_spots_are_not_compared():
    spots, middle = RadialProfile(128, statistic="spots"), RadialProfile(128, statistic="median")
    features = make_features(
        diffraction=("rings", RadialProfile(128)), spots=("rings", spots), middle=("rings", middle)
    )
    X, y, entries = make_library(load_amcsd()[:6], features, random_state=0)
    np.testing.assert_array_equal(X.filter(like="diffraction__"), X.filter(like="middle__"))
    match = LibraryMatch().fit(X, y, entries)
    assert match.blocks_ == {"diffraction": "profile", "spots": "unused", "middle": "profile"}
    other = X.copy()
    other.loc[:, other.columns.str.startswith("spots__")] = 1.0
    np.testing.assert_array_equal(match.predict_proba(X), match.predict_proba(other))


def test_the_probability_of_the_label_weights_the_library(broad):
    (X, y, entries), measured, _ = broad
    is_inside = np.arange(len(y)) < len(y) // 2
    match = LibraryMatch().fit(X[is_inside], y[is_inside], entries[is_inside])
    label, phase = match.label_probability(measured), match.match_probability(measured)
    assert (label > phase).mean() > 0.9
    assert label[is_inside].mean() > label[~is_inside].mean() + 0.1
    rigid = LibraryMatch(line_widths=None).fit(X[is_inside], y[is_inside], entries[is_inside])
    assert rigid.label_probability(measured).mean() < label.mean() - 0.1  # fewer are right


def test_blend_weights_rings_by_the_probability(broad):
    from sklearn.dummy import DummyClassifier
    from sklearn.frozen import FrozenEstimator

    library, measured, _ = broad
    match, dummy = LibraryMatch().fit(*library), DummyClassifier(strategy="prior").fit(*library[:2])
    blends = {
        weighting: LibraryBlend(FrozenEstimator(dummy), FrozenEstimator(match), weighting=weighting).fit(
            *library[:2]
        )
        for weighting in ("auto", "probability", "similarity")
    }
    expected = 0.9 * match.label_probabilities(measured).sum(axis=1)
    np.testing.assert_allclose(blends["auto"].weight(measured), expected)
    np.testing.assert_allclose(blends["probability"].weight(measured), expected)
    share = 1 / (1 + np.exp((0.65 - match.similarity(measured).astype(float)) / 0.05))
    np.testing.assert_allclose(blends["similarity"].weight(measured), 0.9 * share)
    assert LibraryBlend.weighting == "similarity"
    assert LibraryMatch.line_widths is None
    with pytest.raises(ValueError, match="weighting must be one of"):
        LibraryBlend(dummy, weighting="equal").fit(*library[:2])


def test_chemistry_weighs_more_for_rings():
    library, measured, _ = make_tables(BROAD, 300, chemistry=("formula", ElementFractions()))
    by_default, by_number = (LibraryMatch(chemistry_weight=w).fit(*library) for w in (None, 5.0))
    np.testing.assert_array_equal(by_default.predict_proba(measured), by_number.predict_proba(measured))
