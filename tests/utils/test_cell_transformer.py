"""Columns of pandas and polars, parameters changed after `fit`, and killed worker processes."""

import os
import pickle
import signal
import time

import numpy as np
import pandas as pd
import pytest

from xtalsk.compose import make_features
from xtalsk.composition import ElementFractions, ElementPresence, RankedElements
from xtalsk.io import Spectrum
from xtalsk.spectra import SpectrumBins
from xtalsk.utils import BrokenCellWarning, CellTransformer, LostWorkerError

FORMULAS = ["SiO2", None, "NaCl"]
SPECTRA = [
    Spectrum(np.arange(1.0, 2049), np.arange(2048) * 10.0),
    None,
    Spectrum(np.ones(2048), np.arange(2048) * 5.0),
]


def make_squares(deadly, once=None):
    """Return a transformer that squares numbers and kills its process at some of them, in workers only.

    ``once`` is a path; if it is given, a number kills only while the file does not exist. The class is local,
    so that workers get its code.
    """
    main = os.getpid()

    class Squares(CellTransformer):
        def __init__(self, on_error="raise", n_jobs=2, cache=False):
            self.on_error, self.n_jobs, self.cache = on_error, n_jobs, cache

        def _check_cell(self, cell):
            return cell

        def _features(self, cells):
            if os.getpid() != main and set(cells) & set(deadly) and not (once and once.exists()):
                if once:
                    once.touch()
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGKILL)
            return np.array(cells, dtype=float)[:, np.newaxis] ** 2

        def _feature_names(self):
            return ["square"]

    return Squares()


def test_on_error_can_change_after_fit():
    fitted = ElementFractions().fit(FORMULAS)
    with pytest.raises(ValueError, match="row 1"):
        fitted.transform(["SiO2", "quartz"])
    with pytest.warns(BrokenCellWarning, match="1 of 2"):
        out = fitted.set_params(on_error="warn").transform(["SiO2", "quartz"])
    assert np.isnan(out).all(1).tolist() == [False, True]
    with pytest.raises(ValueError, match="on_error must be one of"):
        fitted.set_params(on_error="ignore").transform(["SiO2"])


def test_on_error_of_a_block_can_change_after_fit():
    table = pd.DataFrame({"formula": ["SiO2", "NaCl"]})
    broken = pd.DataFrame({"formula": ["SiO2", "quartz"]})
    features = make_features(presence=("formula", ElementPresence()), ranked=("formula", RankedElements(2)))
    features.fit(table)
    features.set_params(presence__on_error="warn", ranked__on_error="warn", ranked__n_ranks=3)
    with pytest.warns(BrokenCellWarning, match="quartz"):
        out = features.transform(broken)
    assert out.isna().all(axis=1).tolist() == [False, True]
    assert "ranked__rank3_z" not in out  # other parameters need another fit
    with pytest.raises(ValueError, match="row 1 of column formula"):
        features.set_params(presence__on_error="raise").transform(broken)
    assert "ranked__rank3_z" in features.fit(table).transform(table)


def test_columns_of_polars():
    pl = pytest.importorskip("polars")
    fractions = ElementFractions()
    expected = fractions.fit_transform(pd.Series(FORMULAS, name="formula"))
    for column in (pl.Series("formula", FORMULAS), pl.DataFrame({"formula": FORMULAS})):
        np.testing.assert_array_equal(fractions.fit_transform(column), expected)
        assert fractions.feature_names_in_.tolist() == ["formula"]
    with pytest.raises(ValueError, match="fitted on column 'formula', got column 'text'"):
        fractions.transform(pl.Series("text", FORMULAS))
    with pytest.raises(ValueError, match="row 1 of column formula"):
        fractions.transform(pl.Series("formula", ["SiO2", "quartz"]))
    with pytest.raises(ValueError, match="LazyFrame; collect it first"):
        fractions.transform(pl.DataFrame({"formula": FORMULAS}).lazy())
    with pytest.raises(ValueError, match="expected one column of specimens, got 2"):
        fractions.transform(pl.DataFrame({"a": FORMULAS, "b": FORMULAS}))


def test_specimens_in_a_frame_of_polars():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame([pl.Series("eds", SPECTRA, dtype=pl.Object), pl.Series("formula", FORMULAS)])
    features = make_features(fractions=("formula", ElementFractions()), bins=("eds", SpectrumBins(8)))
    expected = features.fit_transform(pd.DataFrame({"eds": SPECTRA, "formula": FORMULAS}))
    pd.testing.assert_frame_equal(features.fit_transform(table), expected)


def test_tables_of_fractions_of_polars():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"fe": [0.4, None, 0.0], "o": [0.6, None, 1.0]})
    out = ElementFractions().fit(table).transform(table)
    np.testing.assert_allclose(out[[0, 2]][:, [7, 25]], [[0.6, 0.4], [1.0, 0.0]], rtol=1e-6)
    assert np.isnan(out[1]).all()


def test_finished_work_is_kept_if_a_worker_is_killed(tmp_path):
    """A worker that is killed once, for lack of memory, costs nothing but time."""
    cells = np.arange(12.0)
    out = make_squares([7.0], once=tmp_path / "killed").fit(cells).transform(cells)
    np.testing.assert_array_equal(out[:, 0], cells**2)


def test_rows_that_kill_their_worker_are_named():
    cells = np.arange(12.0)
    squares = make_squares([7.0]).fit(cells)
    with pytest.raises(LostWorkerError, match="row 7 was not computed; run only these again") as caught:
        squares.transform(cells)
    assert caught.value.rows == [7]
    np.testing.assert_array_equal(caught.value.features[:, 0], np.where(cells == 7, np.nan, cells**2))
    assert pickle.loads(pickle.dumps(caught.value)).rows == [7]
    with pytest.warns(BrokenCellWarning, match="rows 7, 9 were not computed and count as not measured"):
        squares.set_params(on_error="warn")._report_lost([7, 9], caught.value.features)


@pytest.mark.parametrize("n_jobs", [None, 1])
def test_one_job_computes_all_cells_at_once(monkeypatch, n_jobs):
    squares, sizes = make_squares([]).set_params(n_jobs=n_jobs).fit([1.0]), []
    work = squares._features
    monkeypatch.setattr(squares, "_features", lambda cells: sizes.append(len(cells)) or work(cells))
    np.testing.assert_array_equal(squares.transform(np.arange(20.0))[:, 0], np.arange(20.0) ** 2)
    assert sizes == [20]
