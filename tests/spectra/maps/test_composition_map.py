import numpy as np
import pandas as pd
import pytest

from xtalsk.composition import ElementFractions, ElementPresence
from xtalsk.spectra import CompositionMap
from xtalsk.utils._formula import FEATURE_NAMES


@pytest.fixture
def compositions():
    rng = np.random.default_rng(0)
    fractions = rng.dirichlet(np.ones(3), (2, 4)).astype(np.float32)
    status = np.zeros((2, 4), np.uint8)
    status[1, 3], fractions[1, 3] = 1, np.nan
    absent = np.zeros(98, np.float32)
    absent[:5] = np.nan
    evidence = pd.DataFrame(
        {"element": ["O", "Fe"], "found_in": ["whole map", "region 1"], "n_pixels": [8, 2],
         "fraction": [0.5, 0.25], "significance": [30.0, 8.0]}
    )  # fmt: skip
    axes = tuple({"name": name, "scale": 2.0, "offset": 0.0, "units": "nm"} for name in ("y", "x"))
    return CompositionMap(
        fractions, 0.1 * fractions, ["O", "Ti", "Fe"], evidence, np.full((2, 4), 50, np.float32),
        np.zeros((2, 4), int), status, absent, np.array([0.12, 0.06, 0.06]), axes,
    )  # fmt: skip


def test_map_of_an_element(compositions):
    np.testing.assert_array_equal(compositions.element("Fe"), compositions.fractions[..., 2])
    with pytest.raises(ValueError, match=r"\['O', 'Ti', 'Fe'\], got 'Cu'"):
        compositions.element("Cu")
    assert "2 x 4 pixels: O, Ti, Fe; 7 mapped" in repr(compositions)


def test_table_has_the_columns_of_element_fractions(compositions):
    table = compositions.to_frame()
    assert list(table.columns) == list(ElementFractions().fit([None]).get_feature_names_out())
    assert list(table.columns) == list(FEATURE_NAMES)
    assert table.index.names == ["row", "column"]
    row = table.loc[(1, 2)]
    assert row["fe"] == compositions.fractions[1, 2, 2]
    assert row["cu"] == 0
    assert np.isnan(row["h"])
    assert table.loc[(1, 3)].isna().all()
    np.testing.assert_array_equal(compositions.all_fractions(slice(6, 7)), table.iloc[6:7])


def test_fractions_feed_the_blocks_of_chemistry(compositions):
    table = compositions.all_fractions()
    presence = ElementPresence().fit(table).transform(table)
    assert presence.shape[0] == 8
    assert np.isnan(presence[7]).all()
    assert not np.isnan(presence[:7]).all(1).any()


def test_total_uncertainty_is_error_propagation(compositions):
    rng = np.random.default_rng(1)
    fractions = compositions.fractions[0, 0]
    varied = fractions * (1 + compositions.systematic * rng.normal(size=(200_000, 3)))
    systematic = (varied / varied.sum(1, keepdims=True)).std(0)
    expected = np.hypot(systematic, compositions.uncertainty[0, 0])
    np.testing.assert_allclose(compositions.total_uncertainty()[0, 0], expected, rtol=0.05)


def test_saved_and_loaded(compositions, tmp_path):
    compositions.save(tmp_path / "map.npz")
    loaded = CompositionMap.load(tmp_path / "map.npz")
    for name in ("fractions", "uncertainty", "counts", "regions", "status", "absent", "systematic"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(compositions, name))
    assert loaded.elements == compositions.elements
    assert loaded.axes == compositions.axes
    pd.testing.assert_frame_equal(loaded.evidence, compositions.evidence)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="is not a map of compositions"):
        CompositionMap.load(tmp_path / "other.npz")


def test_hyperspy_signal_has_the_axes_of_the_map(compositions):
    pytest.importorskip("hyperspy.api")
    signal = compositions.to_hyperspy()
    assert signal.data.shape == (3, 2, 4)
    assert [axis.name for axis in signal.axes_manager.signal_axes] == ["x", "y"]
    assert signal.axes_manager.signal_axes[0].scale == 2.0
    assert signal.metadata.Sample.elements == ["O", "Ti", "Fe"]
