"""Spectra of the other kind, spectra without beam energy or angles, tables and plots of the result."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xtalsk.io import Spectrum
from xtalsk.simulation import EDSConditions, EELSConditions, simulate_eds, simulate_eels
from xtalsk.spectra import EELSComposition
from xtalsk.spectra._signal_kind import check_is_loss_spectrum, check_is_xray_spectrum
from xtalsk.utils import BrokenCellWarning

BEAM = {"beam_energy": 200.0, "convergence_angle": 10.0, "collection_angle": 20.0}
CONDITIONS = replace(EELSConditions.ideal(), energy=(300, 1000, 0.5), counts=1e9, jump_ratio=1.0)
COUNTS = simulate_eels(["TiO2"], conditions=CONDITIONS, random_state=0)[0].astype(float)
AXIS = CONDITIONS.axis()
XRAYS = simulate_eds(["TiO2"], conditions="ideal", random_state=0)[0]
XRAY_AXIS = EDSConditions.ideal().axis()

EMSA = """#FORMAT      : EMSA/MAS Spectral Data File
#VERSION     : 1.0
#TITLE       : test
#NPOINTS     : {n}
#NCOLUMNS    : 1
#XUNITS      : eV
#YUNITS      : counts
#DATATYPE    : Y
#XPERCHAN    : {step}
#OFFSET      : {start}
#BEAMKV   -kV: 200
{kind}
#SPECTRUM    : Spectral Data Starts Here
{counts}
#ENDOFDATA   : End Of Data and File
"""


def write_emsa(path, counts, start, step, kind):
    text = "\n".join(f"{value:g}" for value in counts)
    path.write_text(EMSA.format(n=len(counts), start=start, step=step, kind=kind, counts=text))
    return str(path)


@pytest.mark.parametrize("kind", ["EDS_TEM", "EDS_SEM", "EDS", "WDS"])
def test_a_file_that_states_xrays_is_refused(tmp_path, kind):
    path = write_emsa(tmp_path / "film.msa", XRAYS[:4000], XRAY_AXIS[0], 5, f"#SIGNALTYPE  : {kind}")
    with pytest.raises(
        ValueError, match=rf"row 1 .*film.msa: .*signal type is {kind[:3]}.*use EDSComposition"
    ):
        EELSComposition(**BEAM).fit([None]).transform([None, path])


def test_a_file_that_states_losses_is_accepted(tmp_path):
    path = write_emsa(tmp_path / "film.msa", COUNTS, 300, 0.5, "#SIGNALTYPE  : ELS")
    beam = {"convergence_angle": 10.0, "collection_angle": 20.0}
    assert set(EELSComposition(**beam).analyse(path).elements) == {"Ti", "O"}
    spectrum = Spectrum(COUNTS, AXIS, **BEAM)
    with pytest.raises(ValueError, match="signal type is ELS; use EELSComposition"):
        check_is_xray_spectrum(path, spectrum)


@pytest.mark.parametrize("takeoff_angle", [None, 20.0])
def test_xray_spectra_are_refused(takeoff_angle):
    cell = Spectrum(XRAYS, XRAY_AXIS, beam_energy=200, takeoff_angle=takeoff_angle)
    with pytest.raises(ValueError, match=r"row 0 .*one of X-rays .EDS.: .*its axis runs.*use EDSComposition"):
        EELSComposition(**BEAM).fit([None]).transform([cell])
    with pytest.warns(BrokenCellWarning, match="X-rays"):
        assert np.isnan(EELSComposition(**BEAM, on_error="warn").fit_transform([cell])).all()
    check_is_xray_spectrum(cell, cell)


def test_a_short_xray_axis_with_a_takeoff_angle_is_refused():
    part = XRAY_AXIS < 4000
    cell = Spectrum(XRAYS[part], XRAY_AXIS[part], beam_energy=200, takeoff_angle=20)
    with pytest.raises(ValueError, match="it has a take-off angle"):
        check_is_loss_spectrum(cell, cell)


def test_hyperspy_signals_state_their_kind():
    hs = pytest.importorskip("hyperspy.api")
    pytest.importorskip("exspy")
    signal = hs.signals.Signal1D(XRAYS.astype(float))
    signal.axes_manager[-1].scale = np.diff(XRAY_AXIS)[0]
    signal.axes_manager[-1].offset = 400.0
    signal.axes_manager[-1].units = "eV"
    signal.set_signal_type("EDS_TEM")
    with pytest.raises(ValueError, match="signal type is EDS_TEM"):
        EELSComposition(**BEAM).fit([None]).transform([signal])


def test_energy_losses_are_no_xray_spectrum():
    for cell in (Spectrum(COUNTS, AXIS, **BEAM), Spectrum(COUNTS, AXIS, beam_energy=200)):
        check_is_loss_spectrum(cell, cell)
        with pytest.raises(ValueError, match=r"energy losses .EELS.: .*use EELSComposition"):
            check_is_xray_spectrum(cell, cell)


def test_losses_with_a_takeoff_angle_are_analysed():
    """Programs write all metadata of the instrument into every file."""
    cell = Spectrum(COUNTS, AXIS, takeoff_angle=20, **BEAM)
    assert set(EELSComposition().analyse(cell).elements) == {"Ti", "O"}


@pytest.mark.parametrize("missing", list(BEAM))
def test_missing_metadata_of_the_beam_are_an_error(missing):
    known = {name: value for name, value in BEAM.items() if name != missing}
    cell = Spectrum(COUNTS, AXIS, **known)
    fitted = EELSComposition().fit([None])
    with pytest.raises(ValueError, match=rf"row 1 of column \(unnamed\): .*no {missing.replace('_', ' ')}"):
        fitted.transform([None, cell])
    with pytest.raises(ValueError, match=rf"Spectrum\(\.\.\., {missing}=\.\.\.\)"):
        fitted.analyse(cell)
    given = EELSComposition(**{missing: BEAM[missing]}).fit_transform([cell])
    np.testing.assert_array_equal(given, EELSComposition().fit_transform([Spectrum(COUNTS, AXIS, **BEAM)]))


def test_all_missing_metadata_are_named_at_once():
    with pytest.raises(ValueError, match="no beam energy and no convergence angle and no collection angle"):
        EELSComposition().analyse(Spectrum(COUNTS, AXIS))


def test_the_cache_knows_a_spectrum_whose_beam_is_a_parameter():
    cell = Spectrum(COUNTS, AXIS)
    model = EELSComposition(**BEAM, cache=True).fit([cell])
    first = model.transform([cell])
    model._analysis = None  # an analysis would fail
    np.testing.assert_array_equal(model.transform([cell]), first)


def test_elements_as_a_table():
    analysis = EELSComposition().analyse(Spectrum(COUNTS, AXIS, **BEAM))
    table = analysis.to_frame()
    assert list(table.columns) == ["element", "atomic_percent", "weight_percent", "uncertainty", "lines"]
    assert table.atomic_percent.is_monotonic_decreasing
    assert table[["atomic_percent", "weight_percent"]].sum().tolist() == pytest.approx([100, 100])
    table = table.set_index("element")
    assert table.lines.to_dict() == {"Ti": "L23", "O": "K"}
    ti, o = table.atomic_percent["Ti"], table.atomic_percent["O"]
    assert ti == pytest.approx(100 * analysis.fractions[21])
    assert table.uncertainty["Ti"] == pytest.approx(100 * analysis.uncertainty[21])
    weight = 100 * ti * 47.867 / (ti * 47.867 + o * 15.999)
    assert table.weight_percent["Ti"] == pytest.approx(weight, rel=1e-4)


def test_the_table_of_a_spectrum_without_elements_is_empty():
    energy = np.arange(300.0, 900.0)
    counts = np.random.default_rng(0).poisson(1e5 * (energy / 300) ** -3.0)
    table = EELSComposition(**BEAM).analyse(Spectrum(counts, energy)).to_frame()
    assert table.shape == (0, 5)
    assert isinstance(table, pd.DataFrame)


def test_plots():
    plt = pytest.importorskip("matplotlib.pyplot")
    analysis = EELSComposition().analyse(Spectrum(COUNTS, AXIS, **BEAM))
    ax = analysis.plot()
    assert ax.get_xlabel() == "energy loss (eV)"
    assert [line.get_label() for line in ax.get_lines()[:3]] == ["measured", "fit", "background"]
    np.testing.assert_array_equal(ax.get_lines()[1].get_ydata(), analysis.curve)
    assert {text.get_text() for text in ax.texts} == {"Ti L23", "O K"}
    own = plt.figure().subplots()
    assert analysis.plot(ax=own) is own
    plt.close("all")


def test_an_xray_axis_in_kev_is_no_loss_axis():
    cell = Spectrum(XRAYS, XRAY_AXIS / 1000, beam_energy=200)
    check_is_xray_spectrum(cell, cell)
