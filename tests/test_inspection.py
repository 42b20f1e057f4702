import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from xtalsk.inspection import ComparisonDisplay
from xtalsk.metrics import SCORED_LEVELS


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    best = {"prior": 0.1, "boosted (diffraction only)": 0.35, "fusion": 0.5}
    rows = []
    for name, score in best.items():
        for fold in range(5):
            row = {"model": name, "fold": fold}
            for above, level in enumerate(reversed(SCORED_LEVELS)):
                row[f"{level}_accuracy"] = score + 0.1 * above + rng.normal(0, 0.01)
                row[f"{level}_balanced_accuracy"] = score / 2
            rows.append(row)
    return pd.DataFrame(rows)


def test_models_are_sorted_by_the_finest_level(table):
    display = ComparisonDisplay.from_table(table.sample(frac=1, random_state=0))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["prior", "boosted (diffraction only)", "fusion"]
    assert display.figure_ is display.ax_.figure
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["crystal system", "point group", "extinction group", "space group"]


def test_dots_are_the_scores(table):
    ax = plt.figure().subplots()
    display = ComparisonDisplay.from_table(table, levels=["space_group"], ax=ax)
    assert display.ax_ is ax
    *_, span, folds, means = ax.lines
    expected = table.loc[table["model"] == "fusion", "space_group_accuracy"]
    np.testing.assert_allclose(folds.get_xdata(), expected)
    np.testing.assert_allclose(span.get_xdata(), [expected.min(), expected.max()])
    np.testing.assert_allclose(means.get_xdata()[-1], expected.mean())
    assert ax.get_legend() is None


def test_other_labels(table):
    renamed = table[["model", "fold", "space_group_balanced_accuracy"]]
    renamed.columns = ["model", "fold", "label_balanced_accuracy"]
    display = ComparisonDisplay.from_table(renamed, metric="balanced_accuracy")
    assert display.levels == ["label"]
    assert "balanced accuracy" in display.ax_.get_xlabel()


def test_the_best_calibrated_model_is_at_the_top(table):
    renamed = table[["model", "fold", "space_group_accuracy"]]
    renamed.columns = ["model", "fold", "label_calibration_error"]
    display = ComparisonDisplay.from_table(renamed, metric="calibration_error")
    assert display.ax_.get_yticklabels()[-1].get_text() == "prior"


def test_bad_input(table):
    with pytest.raises(ValueError, match="'top5'"):
        ComparisonDisplay.from_table(table, metric="top5")
    with pytest.raises(ValueError, match="laue_class"):
        ComparisonDisplay.from_table(table, levels=["laue_class"])
    with pytest.raises(ValueError, match="0 rows"):
        ComparisonDisplay.from_table(table.iloc[:0])
