import matplotlib as mpl

mpl.use("Agg")

from copy import deepcopy
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from xtalsk import (
    DiffractionImage,
    ElementFractions,
    LibraryMatch,
    PowderConditions,
    PowderProfile,
    Profile,
    RadialProfile,
    RingConditions,
    SpecimenColumns,
    compute_reflections,
    load_amcsd,
    load_pretrained,
    make_features,
    make_library,
    simulate_powder,
    simulate_rings,
)
from xtalsk.inspection import IdentificationDisplay
from xtalsk.inspection._answer import lines_of
from xtalsk.symmetry import crystal_system

LEVELS = ["crystal_system", "point_group", "space_group"]
PIXEL_SIZE = 2 / 128
DRAW = IdentificationDisplay.from_estimator


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def crystals():
    """Two entries of bunsenite, then gold, halite, quartz and rutile."""
    entries = load_amcsd()
    wanted = [("NiO", 2), ("Au", 1), ("NaCl", 1), ("SiO2", 1), ("TiO2", 1)]
    return entries[np.concatenate([np.flatnonzero(entries.formulas == name)[:n] for name, n in wanted])]


@pytest.fixture(scope="module")
def rings(crystals):
    features = make_features(
        diffraction=("rings", RadialProfile()), fractions=("formula", ElementFractions())
    )
    library = make_library(crystals, features, random_state=0)
    match = LibraryMatch(all_missing="missing").fit(*library)
    return make_pipeline(SpecimenColumns(["rings", "formula"]), features, match)


@pytest.fixture(scope="module")
def powder(crystals):
    features = make_features(diffraction=("powder", PowderProfile(wavelength=1.5406)))
    return make_pipeline(features, LibraryMatch().fit(*make_library(crystals, features, random_state=0)))


@pytest.fixture(scope="module")
def image(crystals):
    """Elliptic rings of nickel oxide whose camera length is wrong by 3%; a corner was not measured."""
    conditions = replace(
        RingConditions.ideal(), image_size=128, q_max=1.0, electrons=1e7, calibration=0.03, ellipticity=0.03
    )
    data = simulate_rings(compute_reflections(crystals[:1], d_min=0.7), [0], conditions, random_state=0)[0]
    data = data.astype(float)
    data[:20, :20] = np.nan
    return DiffractionImage(data, pixel_size=PIXEL_SIZE)


@pytest.fixture(scope="module")
def scan(crystals):
    conditions = replace(PowderConditions.ideal(), two_theta=(10.0, 100.0, 0.02))
    lines = compute_reflections(crystals[2:3], "xray", d_min=0.95, wavelength=1.5406)
    counts = simulate_powder(lines, [0], conditions, random_state=0)[0]
    return Profile(counts, two_theta=conditions.axis(), wavelength=1.5406)


def ticks(ax, place):
    """Return positions and heights of the lines of a candidate."""
    segments = np.array(ax.collections[place].get_segments())
    return segments[:, 0, 0], np.diff(segments[:, :, 1])[:, 0]


def test_panels_of_rings(rings, crystals, image):
    display = DRAW(rings, {"rings": image, "formula": "Ni25O25C30Cu20"}, crystals=crystals)
    assert list(display.axes_) == ["image", "profile", "lines", *LEVELS]
    assert all(ax.figure is display.figure_ for ax in display.axes_.values())
    assert display.figure_.get_size_inches()[0] == pytest.approx(180 / 25.4)
    assert display.candidates["formula"].tolist()[0] == "NiO"
    assert display.lines[0][0].size == display.lines[0][1].size > 5
    np.testing.assert_allclose(display.axes_["profile"].lines[0].get_ydata(), display.profile)


def test_centre_mask_and_rings_are_drawn_in_the_image(rings, crystals, image):
    display = DRAW(rings, image, crystals=crystals)
    ax, geometry = display.axes_["image"], display.geometry
    *arcs, cross, _ = ax.lines
    assert (cross.get_ydata()[0], cross.get_xdata()[0]) == geometry.center
    np.testing.assert_allclose(geometry.center, [63.5, 63.5], atol=0.5)
    assert geometry.mask[:20, :20].all()
    assert (~np.ma.getmaskarray(ax.images[1].get_array()) == geometry.mask).all()
    row, column = geometry.center
    a, b = geometry.ellipticity
    assert np.hypot(a, b) == pytest.approx(0.015, abs=2e-3)
    for arc in arcs:
        x, y = arc.get_xdata() - column, arc.get_ydata() - row
        phi = np.arctan2(y, x)
        q = np.hypot(x, y) / (1 + a * np.cos(2 * phi) + b * np.sin(2 * phi)) * PIXEL_SIZE
        assert np.ptp(q) < 1e-9
        assert np.abs(display.lines[0][0] - q[0]).min() < 1e-6
    assert "(63.5, 63.5) px, rings 3.0% elliptic" in ax.get_xlabel()
    assert "blue: not used" in ax.get_xlabel()


def test_lines_are_at_the_scale_of_the_library(rings, crystals, image):
    display = DRAW(rings, {"rings": image, "formula": "NiO"}, crystals=crystals)
    best = display.candidates.iloc[0]
    assert best["scale"] == pytest.approx(1.03, abs=0.01)
    entry = crystals[np.flatnonzero(crystals.ids == best["id"])]
    expected = compute_reflections(entry, "electron", d_min=0.9).q.numpy() * best["scale"]
    positions, heights = ticks(display.axes_["lines"], 0)
    np.testing.assert_allclose(positions[: len(expected)], expected, rtol=1e-5)
    assert heights.argmax() == display.lines[0][1].argmax()
    assert "scale +" in display.axes_["lines"].texts[0].get_text()


def test_bins_that_were_not_used_are_shaded(rings, crystals, image):
    rows, columns = np.indices(image.data.shape)
    data = np.where(np.hypot(rows - 63.5, columns - 63.5) < 12, np.nan, image.data)
    display = DRAW(rings, DiffractionImage(data, pixel_size=PIXEL_SIZE), crystals=crystals)
    ax = display.axes_["profile"]
    ends = ax.patches[0].get_extents().transformed(ax.transData.inverted()).extents[[0, 2]]
    first = np.flatnonzero(np.isfinite(display.profile))[0]
    assert ends[1] == pytest.approx(display.q[first] - np.diff(display.q)[0] / 2)
    assert ends[1] > 0.15
    assert display.axes_["lines"].get_xlabel().endswith("blue: not used")


def test_probabilities_are_those_of_the_classifier(rings, crystals, image):
    display = DRAW(rings, image, crystals=crystals)
    features = rings[:-1].transform(pd.DataFrame({"rings": [image]}))
    for level in LEVELS:
        shares = display.probabilities[level]
        expected = rings[-1].predict_level_proba(features, level)[0]
        np.testing.assert_allclose(shares[rings[-1].level_classes_[level]], expected, atol=1e-6)
        assert shares.is_monotonic_decreasing
    names = [label.get_text() for label in display.axes_["space_group"].get_yticklabels()]
    assert names[0] == r"$Fm\bar{3}m$ (225)"


def test_entries_of_one_mineral_count_once(rings, crystals, image):
    display = DRAW(rings, image, crystals=crystals, n_candidates=5)
    assert display.candidates["mineral"].tolist().count("Bunsenite") == 1


def test_rows_of_all_kinds_are_the_same_specimen(rings, crystals, image):
    row = {"rings": image, "formula": "NiO"}
    frame = pd.DataFrame({"rings": [image], "formula": ["NiO"]}, index=[7])
    displays = [DRAW(rings, kind, crystals=crystals) for kind in (row, frame, frame.loc[7])]
    for display in displays[1:]:
        pd.testing.assert_frame_equal(display.candidates, displays[0].candidates)


def test_panels_of_a_powder_scan(powder, crystals, scan):
    display = DRAW(powder, scan, crystals=crystals, width="column")
    assert list(display.axes_) == ["profile", "lines", *LEVELS]
    assert display.geometry is None
    assert display.figure_.get_size_inches()[0] == pytest.approx(85 / 25.4)
    assert display.candidates.loc[0, "mineral"] == "Gold"
    positions, heights = ticks(display.axes_["lines"], 0)
    np.testing.assert_allclose(positions[:2], [38.2, 44.4], atol=0.15)  # 111 and 200 of gold
    assert heights.argmax() == 0
    shown = display.axes_["profile"].lines[0]
    np.testing.assert_array_equal(shown.get_xdata(), scan.two_theta)
    assert "2θ" in display.axes_["lines"].get_xlabel()


def test_scans_against_q_and_in_files(powder, crystals, scan, tmp_path):
    q = 2 * np.sin(np.radians(scan.two_theta / 2)) / 1.5406
    display = DRAW(powder, Profile(scan.intensity, q=q), crystals=crystals)
    positions, _ = ticks(display.axes_["lines"], 0)
    np.testing.assert_allclose(positions[0], 3**0.5 / 4.078, atol=2e-3)
    np.savetxt(tmp_path / "gold.xy", np.column_stack([scan.two_theta, scan.intensity]))
    display = DRAW(powder, tmp_path / "gold.xy", crystals=crystals)
    assert display.candidates.loc[0, "mineral"] == "Gold"
    assert "2θ" in display.axes_["lines"].get_xlabel()


def test_pipelines_without_columns(crystals, image):
    features = make_features(diffraction=("rings", RadialProfile()))
    X, y, entries = make_library(crystals, features, random_state=0)
    pipeline = make_pipeline(RadialProfile().fit([image]), LibraryMatch().fit(X.to_numpy(), y, entries))
    display = DRAW(pipeline, image, crystals=crystals)
    assert display.candidates.loc[0, "label"] == 225


def test_classifiers_without_candidates_and_other_labels(crystals, image):
    features = make_features(diffraction=("rings", RadialProfile()))
    X, y, _ = make_library(crystals, features, random_state=0)
    forest = RandomForestClassifier(random_state=0).fit(X.fillna(0), y)
    display = DRAW(make_pipeline(features, forest), image)
    assert list(display.axes_) == ["image", "profile", *LEVELS]
    forest.fit(X.fillna(0), crystal_system(y))
    display = DRAW(make_pipeline(features, forest), image)
    assert list(display.axes_) == ["image", "profile", "label"]
    assert display.probabilities["label"].sum() == pytest.approx(1)


def test_entries_without_crystal(rings, crystals, image):
    with pytest.warns(UserWarning, match=r"no lines are drawn for the entries \['\d+'"):
        display = DRAW(rings, image, crystals=crystals[2:])
    assert any("no crystal" in text.get_text() for text in display.axes_["lines"].texts)


def test_entries_of_both_packaged_sets_have_lines():
    gold, lanthanide = lines_of(pd.DataFrame({"id": ["11140", "cod:Yb5Au4_62"]}), None, 1.0)
    assert len(gold[0]) > 0
    assert len(lanthanide[0]) > 0


@pytest.mark.filterwarnings("ignore:X. row 0")
def test_specimens_without_answer(rings, crystals, image):
    strict = deepcopy(rings)  # no structures of other elements
    strict[-1].set_params(isostructural=False)
    display = DRAW(strict, {"rings": image, "formula": "Pb40U60"}, crystals=crystals)
    assert [text.get_text() for text in display.axes_["space_group"].texts] == ["no answer"]
    assert "lines" not in display.axes_


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_in_given_axes(rings, crystals, image, layout):
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[1, 2], layout=layout)
    display = DRAW(rings, image, crystals=crystals, ax=axes[1])
    assert display.figure_ is figure
    figure.canvas.draw()
    boxes = {name: ax.get_position() for name, ax in display.axes_.items()}
    assert min(box.x0 for box in boxes.values()) > axes[0].get_position().x1
    assert boxes["image"].x1 < boxes["profile"].x0
    assert plt.rcParams["font.size"] == plt.rcParamsDefault["font.size"]
    assert display.plot() is display
    assert display.figure_ is not figure


@pytest.mark.parametrize("width", ["page", "column"])
def test_labels_do_not_overlap(rings, crystals, image, width):
    display = DRAW(rings, {"rings": image, "formula": "NiO"}, crystals=crystals, width=width)
    display.figure_.canvas.draw()
    boxes = [
        text.get_window_extent()
        for level in LEVELS
        for text in [*display.axes_[level].get_yticklabels(), *display.axes_[level].texts]
    ]
    boxes += [display.axes_["lines"].xaxis.label.get_window_extent()]
    boxes += [text.get_window_extent() for text in display.axes_["lines"].texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert display.figure_.bbox.containsx(box.x0)
        assert display.figure_.bbox.containsx(box.x1)


@pytest.mark.parametrize(
    ("specimen", "message"),
    [
        (5, "expected a DiffractionImage, a Profile"),
        ({"ring": None}, r"unknown columns \['ring'\]; the pipeline uses \['formula', 'rings'\]"),
        ({"rings": None, "formula": "NiO"}, r"needs a measured cell in one of \['rings'\]"),
        (Profile([1, 2, 3], q=[0.1, 0.2, 0.3]), r"a Profile fits none of the columns \['rings'\]"),
        (np.ones((64, 64)), "no calibration"),
        (DiffractionImage(np.ones((64, 64)), pixel_size=0.01), "nothing to draw: it is blank"),
        (pd.DataFrame({"rings": [None, None]}), "one row, got 2"),
    ],
)
def test_bad_specimens(rings, specimen, message):
    with pytest.raises(ValueError, match=message):
        DRAW(rings, specimen)


def test_bad_pipelines_and_parameters(rings, image):
    with pytest.raises(ValueError, match="a fitted Pipeline of features and a classifier"):
        DRAW(rings[-1], image)
    chemistry = make_features(fractions=("formula", ElementFractions()))
    with pytest.raises(ValueError, match="not fitted"):
        DRAW(make_pipeline(chemistry, rings[-1]), image)
    chemistry.fit(pd.DataFrame({"formula": ["NiO"]}))
    with pytest.raises(ValueError, match="no features of a RadialProfile or a PowderProfile"):
        DRAW(make_pipeline(chemistry, rings[-1]), image)
    with pytest.raises(ValueError, match="n_candidates"):
        DRAW(rings, image, n_candidates=6)
    with pytest.raises(ValueError, match="width must be one of"):
        DRAW(rings, image, width="poster")
    with pytest.raises(ValueError, match="ax must be Axes"):
        DRAW(rings, image, ax=3)


def test_published_pipelines(image, scan):
    rings = load_pretrained("rings")
    assert "lines" in DRAW(rings, {"rings": image, "formula": "NiO"}).axes_
    powder = load_pretrained("powder")
    assert DRAW(powder, scan).candidates.loc[0, "formula"] == "Au"


def test_weak_lines_pass_neither_through_the_profile_nor_the_image(rings, crystals, image):
    display = DRAW(rings, {"rings": image, "formula": "NiO"}, crystals=crystals)
    q, intensity = display.lines[0]
    display.lines[0] = np.append(q, 0.2), np.append(intensity, 0.01)
    display.plot()
    guides = [line.get_xdata()[0] for line in display.axes_["profile"].lines[1:]]
    assert set(guides) <= set(q)
    assert display.axes_["image"].lines[0].get_xdata().max() > 63.5 + 0.3 / PIXEL_SIZE
    assert 0.2 in ticks(display.axes_["lines"], 0)[0]
