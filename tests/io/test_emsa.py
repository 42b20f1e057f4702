"""The EMSA/MAS format: dialects of the header and the data, and truncated or unusual files."""

from pathlib import Path

import numpy as np
import pytest

from xtalsk.io import BrokenFileError, read_spectrum

COUNTS = np.array([3.0, 0.0, 7.0, 12.0, 5.0, 1.0])

HEADER = {
    "FORMAT": "EMSA/MAS Spectral Data File",
    "VERSION": "1.0",
    "TITLE": "a spectrum: of [12:30:01] something",
    "DATE": "09-JUL-2008",
    "NPOINTS": "6.0",
    "NCOLUMNS": "1",
    "XUNITS": "eV",
    "YUNITS": "counts",
    "DATATYPE": "Y",
    "XPERCHAN": "10.0",
    "OFFSET": "-20.0",
    "SIGNALTYPE": "XRF",
}


def write(path, data=None, end="#ENDOFDATA   : \n", **changes):
    """Write a file whose header is HEADER with some keywords changed, or left out where None."""
    header = {**HEADER, **changes}
    lines = [f"#{key:<12}: {value}\n" for key, value in header.items() if value is not None]
    data = "".join(f"{c:g},\n" for c in COUNTS) if data is None else data
    path.write_text("".join(lines) + "#SPECTRUM    : \n" + data + end, encoding="latin-1", newline="")
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.msa"


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, None),
        ({"NCOLUMNS": "4.0"}, "   3.0,  0.0,  7.0, 12.0,\n  5.0, 1.0,\n"),
        ({"NCOLUMNS": "3"}, "3 0 7\r\n\r\n12\t5 1\r\n"),
        ({"DATATYPE": "XY"}, "-20, 3\n-10, 0\n0, 7,\n10, 1.2E1\n20, 5\n30, 1\n"),
        ({"DATATYPE": "XY", "NCOLUMNS": "2", "XPERCHAN": None}, "-20,3,-10,0\n0,7,10,12\n20,5,30,1\n"),
        ({"DATATYPE": "XY"}, "30,1\n20,5\n10,12\n0,7\n-10,0\n-20,3\n"),
        ({"XUNITS": "keV", "XPERCHAN": "0.01", "OFFSET": "-2.0 E-02"}, None),
        ({"XUNITS": "Energy Loss (eV)", "TITLE": "Ångström \x85"}, None),
        ({"DATATYPE": None, "NPOINTS": None}, None),
        ({"OFFSET": None, "CHOFFSET": "2"}, None),
        ({"CHOFFSET": "2"}, None),
        ({"CHOFFSET": "2.4"}, None),
        ({"CHOFFSET": "0.0"}, None),
    ],
    ids=[
        "plain",
        "four columns",
        "blanks",
        "xy",
        "xy in two columns",
        "xy descending",
        "kev",
        "latin-1",
        "optional",
        "choffset alone",
        "choffset repeats",
        "choffset rounded",
        "choffset unused",
    ],
)
def test_dialects(path, changes, data):
    spectrum = read_spectrum(write(path, data, **changes))
    np.testing.assert_allclose(spectrum.energy, [-20, -10, 0, 10, 20, 30], atol=1e-9)
    np.testing.assert_array_equal(spectrum.counts, COUNTS)
    assert spectrum.beam_energy is None


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"XPERCHAN": "10,0", "OFFSET": "-20,0"}, None),
        ({"XPERCHAN": "1,0E1", "OFFSET": "-20,0"}, "3,0\n0,0\n7,0\n12,0\n5,0\n1,0\n"),
        ({"NPOINTS": "6,0", "NCOLUMNS": "2"}, "3,0 0,0\n7,0 12,0\n5,0 1,0\n"),
        ({"DATATYPE": "XY"}, "-20,0 3\n-10,0 0\n0,0 7\n10,0 12\n20,0 5\n30,0 1\n"),
        ({"XPERCHAN": "10.0 eV", "OFFSET": "-20.0 eV"}, None),
        ({"XPERCHAN   -eV": "10.0", "XPERCHAN": None}, None),
        ({"XUNITS": "keV", "XPERCHAN": "0,01 keV", "OFFSET": "-0,02 keV"}, None),
    ],
    ids=["header", "data", "two columns", "xy", "units", "unit of the keyword", "kev"],
)
def test_decimal_commas_and_units(path, changes, data):
    spectrum = read_spectrum(write(path, data, **changes))
    np.testing.assert_allclose(spectrum.energy, [-20, -10, 0, 10, 20, 30], atol=1e-9)
    np.testing.assert_array_equal(spectrum.counts, COUNTS)


def test_numbers_of_the_header_are_read_whole(path):
    assert read_spectrum(write(path, XPERCHAN="9,97")).energy[1] == pytest.approx(-20 + 9.97)
    details = {"BEAMKV": "20,0", "LIVETIME": "59,5 s", "ELEVANGLE": "35,5"}
    spectrum = read_spectrum(write(path, **details))
    assert (spectrum.beam_energy, spectrum.live_time, spectrum.takeoff_angle) == (20, 59.5, 35.5)
    assert read_spectrum(write(path, BEAMKV="20000 V")).beam_energy == 20
    counts = "".join("1,\n" for _ in range(1024))
    assert read_spectrum(write(path, counts, NPOINTS="1,024")).counts.size == 1024
    path.write_text(write(path).read_text(encoding="latin-1"), encoding="utf-16")
    np.testing.assert_array_equal(read_spectrum(path).counts, COUNTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"XPERCHAN": "9,97,1"}, "expected one number for #XPERCHAN, got '9,97,1'"),
        ({"XPERCHAN": "10 20"}, "expected one number for #XPERCHAN, got '10 20'"),
        ({"OFFSET": "-1,200"}, "#OFFSET -1,200 may be -1.200 or -1200; write a decimal point"),
        ({"BEAMKV": "15/20"}, "expected one number for #BEAMKV, got '15/20'"),
        ({"XPERCHAN": "0.01 keV"}, "#XPERCHAN is in kev, but #XUNITS is eV"),
        ({"data": "3\n0\n7\n1_2\n5\n1\n"}, "expected numbers in line 17, got '1_2'"),
    ],
)
def test_numbers_that_are_not_sure(path, changes, message):
    write(path, **changes)
    with pytest.raises(BrokenFileError, match=rf"^a\.msa: .*{message}"):
        read_spectrum(path)


@pytest.mark.parametrize("suffix", [".emsa", ".EMS", ".mas", ".MSA"])
def test_suffixes_and_line_ends(tmp_path, suffix):
    text = write(tmp_path / "a.msa").read_text()
    for end in ("\r\n", "\r"):
        path = tmp_path / f"b{suffix}"
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode())
        np.testing.assert_array_equal(read_spectrum(path).counts, COUNTS)


def test_details_with_units_and_without(path):
    plain = {"BEAMKV": "15", "ELEVANGLE": "35", "LIVETIME": "60", "FWHMMNKA": "130.5"}
    spectrum = read_spectrum(write(path, **plain))
    assert (spectrum.beam_energy, spectrum.takeoff_angle, spectrum.live_time) == (15, 35, 60)
    assert spectrum.energy_resolution == 130.5
    units = {"BEAMKV   -kV": "15.0", "ELEVANGLE-dg": "35", "LIVETIME -ms": "6e4", "#MNFWHM -keV": "0.1305"}
    spectrum = read_spectrum(write(path, **units))
    assert (spectrum.beam_energy, spectrum.takeoff_angle, spectrum.live_time) == (15, 35, 60)
    assert spectrum.energy_resolution == 130.5
    losses = {"SIGNALTYPE": "ELS", "CONVANGLE-mR": "1.5", "COLLANGLE -mR": "3.4", "BEAMKV -kV": "120"}
    spectrum = read_spectrum(write(path, **losses))
    assert (spectrum.convergence_angle, spectrum.collection_angle) == (1.5, 3.4)


@pytest.mark.parametrize("unknown", ["", "0", "-1.0", "n/a"])
def test_unknown_details_are_none_and_can_be_given(path, unknown):
    write(path, BEAMKV=unknown, ELEVANGLE=unknown)
    assert read_spectrum(path).beam_energy is None
    spectrum = read_spectrum(path, beam_energy=20, takeoff_angle=30)
    assert (spectrum.beam_energy, spectrum.takeoff_angle) == (20, 30)
    assert read_spectrum(write(path, BEAMKV="15"), beam_energy=20).beam_energy == 15


def test_repeated_keywords(path):
    text = write(path, COMMENT="first").read_text()
    path.write_text(text.replace("#COMMENT", "#COMMENT     : second\nruns on\n#OFFSET: -20.0\n#COMMENT"))
    assert read_spectrum(path).energy[0] == -20
    path.write_text(text.replace("#COMMENT", "#OFFSET      : 5\n#COMMENT"))
    with pytest.raises(ValueError, match=r"a\.msa: #OFFSET occurs twice, with '-20\.0' and '5'"):
        read_spectrum(path)


def test_negative_fractional_and_nan_counts_are_kept(path):
    spectrum = read_spectrum(write(path, "-3.5\n0.25\nnan\n65535\n0\n0\n"))
    np.testing.assert_array_equal(spectrum.counts, [-3.5, 0.25, np.nan, 65535, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "3,\n0,\n7,\n"}, "#NPOINTS gives 6 channels, found 3$"),
        ({"data": "3,\n0,\n7,\n", "end": ""}, "found 3; #ENDOFDATA is missing, the file is truncated"),
        ({"NPOINTS": None, "end": ""}, "#NPOINTS and #ENDOFDATA are both missing"),
        ({"DATATYPE": "XY", "data": "1, 2\n3\n"}, "#NPOINTS gives 6 channels, found 1.5"),
        ({"data": ""}, "expected numbers after #SPECTRUM, found none"),
        ({"data": "3,\noops\n"}, r"expected numbers in line 15, got 'oops'"),
        ({"XUNITS": "nm"}, "expected an axis in eV or keV, got the unit 'nm'"),
        ({"XUNITS": None}, "does not name the unit of its energies; give energy_unit"),
        ({"XPERCHAN": None}, "unknown calibration, #XPERCHAN is missing; give offset .* and dispersion"),
        ({"XPERCHAN": "0"}, "unknown calibration, #XPERCHAN is 0; give offset"),
        ({"XPERCHAN": "-10"}, "unknown calibration, #XPERCHAN is -10; give offset"),
        ({"OFFSET": None}, "unknown calibration, #OFFSET is missing; give offset"),
        ({"OFFSET": "0", "CHOFFSET": "96"}, "#OFFSET 0 and #CHOFFSET 96 give different zero channels"),
        ({"OFFSET": "?"}, r"expected a number for #OFFSET, got '\?'"),
        ({"DATATYPE": "YX"}, "#DATATYPE must be Y or XY, got 'YX'"),
        (
            {"XPERCHAN": "0.01", "OFFSET": "0", "SIGNALTYPE": "EDS"},
            "runs from 0 to 0.05 eV, .* probably wrong",
        ),
        ({"XUNITS": "keV", "XPERCHAN": "1000"}, "runs from .* probably wrong"),
    ],
)
def test_errors_name_the_file(path, arguments, message):
    write(path, **arguments)
    with pytest.raises(ValueError, match=rf"^a\.msa: .*{message}"):
        read_spectrum(path)


@pytest.mark.parametrize("n_characters", [0, 40, 250])
def test_truncated_header(path, n_characters):
    path.write_text(write(path).read_text()[:n_characters])
    with pytest.raises(ValueError, match=r"a\.msa: expected #SPECTRUM, found \d+ keywords without it"):
        read_spectrum(path)


def test_calibration_can_be_given(path):
    write(path, XPERCHAN="0", XUNITS="nm")
    spectrum = read_spectrum(path, offset=5, dispersion=2.5)
    np.testing.assert_allclose(spectrum.energy, 5 + 2.5 * np.arange(6))
    write(path, XUNITS=None)
    np.testing.assert_allclose(read_spectrum(path, energy_unit="keV").energy[-1], 30000)
    np.testing.assert_allclose(read_spectrum(write(path), offset=0).energy, 10 * np.arange(6))
    np.testing.assert_allclose(read_spectrum(path, dispersion=5).energy, -20 + 5 * np.arange(6))
    with pytest.raises(ValueError, match="dispersion must be a positive number"):
        read_spectrum(path, dispersion=0)
    with pytest.raises(ValueError, match="energy_unit='keV', but the unit in the file is 'eV'"):
        read_spectrum(path, energy_unit="keV")


def measured_files(folder):
    return sorted(Path(folder, "eds").glob("*/*.msa"))


def test_measured_files(measured_data):
    files = measured_files(measured_data)
    assert files
    for file in files:
        spectrum = read_spectrum(file)
        assert len(spectrum.counts) == 4096
        assert spectrum.beam_energy in (15, 20)
        assert spectrum.takeoff_angle in (35, 40)
        assert spectrum.live_time > 50
        assert 19_000 < spectrum.energy[-1] < 42_000


def test_energies_of_measured_lines(measured_data):
    """#OFFSET and #CHOFFSET of K309 give the same zero. Applied together they shift all lines by 475 eV."""
    for name, energies in {
        "k309/K309.msa": [1740, 3691, 6400],
        "k309/Fe std.msa": [6400],
        "k412/Fe std.msa": [6400],
        "example2/Si std.msa": [1740],
    }.items():
        spectrum = read_spectrum(measured_data / "eds" / name)
        for energy in energies:
            near = np.abs(spectrum.energy - energy) < 100
            counts = spectrum.counts[near] - spectrum.counts[near].min()
            peak = counts > counts.max() / 2
            center = np.average(spectrum.energy[near][peak], weights=counts[peak])
            assert center == pytest.approx(energy, abs=10)
