"""Spectra from text files, NumPy archives, microscope files and HyperSpy signals."""

import sys

import numpy as np
import pytest

from xtalsk.io import Spectrum, check_spectrum, read_spectrum
from xtalsk.io._signals import choose_signal, raw_spectrum

DATA = "100 5\n110 9\n120 6\n"


@pytest.mark.parametrize(
    "text",
    [
        "Energy (eV) Counts\n" + DATA,
        "# Beam 15 keV\n# Energy [eV]\tCounts\n" + DATA.replace(" ", "\t"),
        "\ufeffenergy_eV,counts\r\n" + DATA.replace(" ", ", ").replace("\n", "\r\n"),
        "keV;Counts\n0,100;5\n0,110;9\n0,120;6\n",
        "E / keV\tN\n0,100\t5\n0,110\t9\n0,120\t6\n",
        "Energy loss (eV)\n120 6\n110 9\n100 5\n",
        "E/eV  N  fit\n" + DATA.replace("\n", " 7.5\n") + "# the end\n",
    ],
    ids=["blanks", "tabs", "commas", "decimal commas", "kev", "descending", "three columns"],
)
def test_dialects_of_text(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    spectrum = read_spectrum(path)
    np.testing.assert_allclose(spectrum.energy, [100, 110, 120])
    np.testing.assert_allclose(spectrum.counts, [5, 9, 6])


@pytest.mark.parametrize("heading", ["", "energy,counts\n", "15 keV beam\n", "Levels, N\n"])
def test_text_without_a_unit(tmp_path, heading):
    path = tmp_path / "a.txt"
    path.write_text(heading + DATA)
    with pytest.raises(ValueError, match=r"a\.txt: .* energy_unit='eV' or 'keV'.* offset and dispersion"):
        read_spectrum(path)
    assert read_spectrum(path, energy_unit="eV").energy[0] == 100
    assert read_spectrum(path, energy_unit="keV").energy[0] == 100_000
    assert read_spectrum(path, energy_unit="auto").energy[0] == 100
    assert read_spectrum(path, offset=-20, dispersion=5).energy.tolist() == [-20, -15, -10]
    path.write_text(heading + "0.98 5\n0.99 9\n1.00 6\n")
    assert read_spectrum(path, energy_unit="auto").energy[-1] == pytest.approx(1000)
    with pytest.raises(ValueError, match="energy_unit must be None, 'eV', 'keV' or 'auto'"):
        read_spectrum(path, energy_unit="MeV")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Energy (eV), counts\n", r"two or more lines with two numbers \(energy and counts\), found 0"),
        ("eV\n10 5\n20 x\n30 6\n", "expected two numbers in line 3, got '20 x'"),
        ("eV\n10 5\n30 5\n20 6\n", "increasing"),
        ("eV\n10 nan\n20 nan\n", "finite"),
        ("keV\n100 5\n2e3 6\n", "runs from 100000 to 2e[+]06 eV, its unit is probably wrong"),
    ],
)
def test_errors_of_text_files_name_the_file(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.csv: .*{message}"):
        read_spectrum(path)
    path.unlink()
    with pytest.raises(OSError, match=r"bad\.csv.*no such file"):
        read_spectrum(path)


def test_negative_saturated_and_nan_counts_are_kept(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("eV\tN\n1\t-2.5\n2\tnan\n3\t0\n4\t65535\n5\t65535\n")
    np.testing.assert_array_equal(read_spectrum(path).counts, [-2.5, np.nan, 0, 65535, 65535])


def test_numpy_files(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, counts=[1, 2, 3], energy=[10.0, 20.0, 30.0], beam_energy=15.0, live_time=60)
    spectrum = read_spectrum(path, beam_energy=20, takeoff_angle=35)
    assert (spectrum.beam_energy, spectrum.live_time, spectrum.takeoff_angle) == (15, 60, 35)
    np.savez(path, counts=[1, 2, 3])
    with pytest.raises(ValueError, match=r"a\.npz: unknown calibration, no array 'energy'; give offset"):
        read_spectrum(path)
    assert read_spectrum(path, offset=0, dispersion=10).energy.tolist() == [0, 10, 20]
    np.savez(path, data=[1, 2, 3])
    with pytest.raises(ValueError, match=r"a\.npz: expected an array 'counts', found \['data'\]"):
        read_spectrum(path)


def test_microscope_formats_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rsciio", None)
    path = tmp_path / "a.dm3"
    path.write_bytes(b"")
    with pytest.raises(ImportError, match=r"a\.dm3.*xtalsk\[microscopy\]"):
        read_spectrum(path)


def axis(size, navigate=False, scale=0.01, units="keV"):
    return {"size": size, "navigate": navigate, "scale": scale, "offset": 0.0, "units": units}


def signal(data, axes, **metadata):
    return {"data": np.asarray(data), "axes": axes, "metadata": metadata}


LINES = np.random.default_rng(0).poisson(20, (4, 500))
SINGLE = [signal(row, [axis(500)]) for row in LINES]
IMAGE = signal(np.ones((8, 8)), [axis(8), axis(8)], General={"title": "HAADF"})


def test_the_only_spectrum_or_the_sum_is_chosen():
    assert choose_signal([IMAGE, SINGLE[0]]) is SINGLE[0]
    total = signal(LINES.sum(0), [axis(500)])
    assert choose_signal([SINGLE[0], total, *SINGLE[1:], IMAGE]) is total
    assert choose_signal([SINGLE[0], total, *SINGLE[1:]], index=3) is SINGLE[2]
    with pytest.raises(
        ValueError, match=r"expected one spectrum, found 2; give index .* 0: 'HAADF', unknown, 8 x 8; 1"
    ):
        choose_signal([IMAGE, *SINGLE[:2]])
    with pytest.raises(ValueError, match="expected a spectrum; the file contains 0: 'HAADF'"):
        choose_signal([IMAGE])
    for index in (0, 2):
        with pytest.raises(ValueError, match=f"signal {index} is not a spectrum"):
            choose_signal([IMAGE, SINGLE[0]], index=index)


def test_spectrum_images_are_summed():
    cube = signal(LINES.T.reshape(500, 2, 2), [axis(500), axis(2, True), axis(2, True)])
    assert choose_signal([IMAGE, cube]) is cube
    np.testing.assert_array_equal(raw_spectrum(cube, "a.bcf").counts, LINES.sum(0))
    np.testing.assert_array_equal(raw_spectrum(cube, "a.bcf", position=(1, 0)).counts, LINES[2])
    for position in ((1,), (2, 0)):
        with pytest.raises(ValueError, match=r"a\.bcf: position must .*, got \((1,|2, 0)\)"):
            raw_spectrum(cube, "a.bcf", position=position)


def test_metadata_under_the_names_of_the_file_format():
    one = SINGLE[0] | {
        "original_metadata": {"Microscope Info": {"Voltage": 2e5, "Name": "?"}},
        "mapping": {
            "Microscope Info.Voltage": ("Acquisition_instrument.TEM.beam_energy", lambda v: v / 1e3),
            "Microscope Info.Name": ("Acquisition_instrument.TEM.convergence_angle", float),
            "Microscope Info.Absent": ("Acquisition_instrument.TEM.Detector.EELS.collection_angle", None),
        },
    }
    assert raw_spectrum(one, "a.dm3").details["beam_energy"] == 200
    assert "convergence_angle" not in raw_spectrum(one, "a.dm3").details


def test_measured_microscope_files(shared_data):
    pytest.importorskip("rsciio")
    pytest.importorskip("h5py")
    if not (shared_data / "tem").is_dir():
        pytest.skip(f"no microscope files in {shared_data / 'tem'}")
    total = read_spectrum(shared_data / "tem" / "EDS-STO.emd")
    assert total.counts.sum() == 190_830
    assert (total.beam_energy, round(total.takeoff_angle, 3)) == (200, 18)
    assert (total.energy[0], round(total.energy[-1])) == (-250, 20225)
    near = (total.energy > 1700) & (total.energy < 1950)
    assert total.energy[near][total.counts[near].argmax()] == pytest.approx(1806, abs=15)  # Sr Lα
    parts = [read_spectrum(shared_data / "tem" / "EDS-STO.emd", index=i).counts for i in range(1, 5)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), total.counts)
    losses = read_spectrum(shared_data / "tem" / "EELS_STO.dm3")
    assert (losses.energy[0], losses.energy[-1]) == (350, 861.75)
    assert (losses.beam_energy, losses.convergence_angle, losses.collection_angle) == (200, 30, 33)


def test_check_spectrum(tmp_path):
    spectrum = Spectrum([1, 2, 3], energy=[1, 2, 3], beam_energy=15)
    assert check_spectrum(spectrum) is spectrum
    assert check_spectrum(spectrum, beam_energy=20) is spectrum
    assert check_spectrum(spectrum, takeoff_angle=35).takeoff_angle == 35
    np.savez(tmp_path / "a.npz", counts=[1, 2, 3], energy=[1, 2, 3])
    assert check_spectrum(tmp_path / "a.npz", beam_energy=20).beam_energy == 20
    for cell in (np.ones(100), [1, 2], 3, {"counts": 1}):
        with pytest.raises(ValueError, match=r"expected a Spectrum, a path .* Spectrum\(counts, energy="):
            check_spectrum(cell)


@pytest.fixture(scope="module")
def measured_signal():
    exspy = pytest.importorskip("exspy")
    return exspy.data.EDS_SEM_TM002()


def test_hyperspy_signals(measured_signal):
    spectrum = check_spectrum(measured_signal)
    np.testing.assert_array_equal(spectrum.counts, measured_signal.data)
    np.testing.assert_allclose(spectrum.energy, measured_signal.axes_manager[-1].axis * 1000)
    assert (spectrum.beam_energy, spectrum.takeoff_angle, spectrum.energy_resolution) == (10, 37, 130)
    assert spectrum.live_time == pytest.approx(19.997292)


def test_files_of_hyperspy(tmp_path, measured_signal):
    hs = pytest.importorskip("hyperspy.api")
    measured_signal.save(tmp_path / "a.hspy")
    spectrum = read_spectrum(tmp_path / "a.hspy", beam_energy=20)
    np.testing.assert_array_equal(spectrum.counts, measured_signal.data)
    assert (spectrum.energy[0], spectrum.beam_energy, spectrum.takeoff_angle) == (-100, 10, 37)
    hs.stack([measured_signal] * 3).save(tmp_path / "b.hspy")
    np.testing.assert_array_equal(read_spectrum(tmp_path / "b.hspy").counts, 3 * measured_signal.data)
    np.testing.assert_array_equal(
        read_spectrum(tmp_path / "b.hspy", position=(2,)).counts, measured_signal.data
    )
    hs.signals.Signal1D(np.ones(100)).save(tmp_path / "c.hspy")
    with pytest.raises(ValueError, match=r"c\.hspy: unknown calibration, its axis has no unit and counts"):
        read_spectrum(tmp_path / "c.hspy")
    assert read_spectrum(tmp_path / "c.hspy", offset=0, dispersion=10).energy[-1] == 990


def test_hyperspy_signals_that_are_not_one_spectrum(measured_signal):
    hs = pytest.importorskip("hyperspy.api")
    two = hs.stack([measured_signal, measured_signal])
    with pytest.raises(ValueError, match=r"expected a signal of one spectrum, .*\(2, 1024\).*inav"):
        check_spectrum(two)
    np.testing.assert_array_equal(check_spectrum(two.inav[0]).counts, measured_signal.data)
    with pytest.raises(ValueError, match="expected a signal of one spectrum"):
        check_spectrum(hs.signals.Signal2D(np.ones((4, 4))))
    with pytest.raises(ValueError, match="Signal1D: unknown calibration"):
        check_spectrum(hs.signals.Signal1D(np.ones(100)))


def test_quoted_numbers_broken_archives_and_impossible_angles(tmp_path):
    quoted = tmp_path / "quoted.csv"
    quoted.write_text('"energy (eV)","counts"\n"10","5"\n"20","7"\n')
    assert read_spectrum(quoted).counts.tolist() == [5, 7]
    broken = tmp_path / "broken.npz"
    broken.write_text("nothing")
    with pytest.raises(ValueError, match=r"broken\.npz"):
        read_spectrum(broken)
    for name, value in (("takeoff_angle", 200), ("beam_energy", 20_000), ("beam_energy", "high")):
        with pytest.raises(ValueError, match=name):
            Spectrum([1, 2], [10, 20], **{name: value})
