"""Powder files of vendors: numbers agree with those read by hand, and the content selects the reader."""

import io
import re
import struct
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from xtalsk.io import BrokenFileError, read_profile

FORMATS = Path(__file__).parents[1] / "data" / "formats"
XRDML = FORMATS / "panalytical_powder.xrdml"
RASX = FORMATS / "rigaku_powder.rasx"
TWO_THETA = np.arange(20, 22, 0.05)
COUNTS = np.round(50 + 900 * np.exp(-(((TWO_THETA - 21) / 0.1) ** 2)))


@pytest.fixture(autouse=True)
def rietx():
    return pytest.importorskip("rietx")


def check(profile, two_theta=TWO_THETA, intensity=COUNTS, wavelength=1.5406, counting_time=None):
    np.testing.assert_allclose(profile.two_theta, two_theta, atol=1e-6)
    np.testing.assert_allclose(profile.intensity, intensity, rtol=1e-6)
    assert profile.wavelength == pytest.approx(wavelength)
    assert profile.counting_time == (counting_time and pytest.approx(counting_time))


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_xrdml():
    space = "{http://www.xrdml.com/XRDMeasurement/1.6}"
    points = ElementTree.parse(XRDML).getroot().find(f".//{space}dataPoints")
    intensity = np.array(points.find(f"{space}intensities").text.split(), dtype=float)
    positions = next(p for p in points.findall(f"{space}positions") if p.get("axis") == "2Theta")
    ends = [float(positions.find(f"{space}{end}Position").text) for end in ("start", "end")]
    check(read_profile(XRDML), np.linspace(*ends, len(intensity)), intensity, 1.540598, 39.27)


def test_ras():
    path = FORMATS / "rigaku_nims.ras"
    text = path.read_text(encoding="latin-1")
    rows = text.split("*RAS_INT_START")[1].split("*RAS_INT_END")[0]
    two_theta, intensity, _ = np.loadtxt(io.StringIO(rows)).T
    step, speed = (float(re.search(rf'MEAS_SCAN_{k} "(.*)"', text)[1]) for k in ("STEP", "SPEED"))
    check(read_profile(path), two_theta, intensity, 1.540593, 60 * step / speed)


def test_rasx():
    with zipfile.ZipFile(RASX) as archive:
        table = np.loadtxt(io.TextIOWrapper(archive.open("Data0/Profile0.txt"), "utf-8-sig"))
        conditions = archive.read("Data0/MesurementConditions0.xml").decode("utf-8-sig")
    step, speed = (float(re.search(f"<{k}>(.*)</{k}>", conditions)[1]) for k in ("Step", "Speed"))
    assert "deg/min" in conditions
    check(read_profile(RASX), table[:, 0], table[:, 1], 1.540593, 60 * step / speed)


def test_brml():
    path = FORMATS / "bruker_absorber.brml"
    with zipfile.ZipFile(path) as archive:
        rows = re.findall("<Datum>(.*?)</Datum>", archive.read("Experiment0/RawData0.xml").decode())
    table = np.array([row.split(",") for row in rows], dtype=float)
    check(read_profile(path), table[:, 2], table[:, -1], 1.5406, 1.0)
    absorbed = table[table[:, 1] != 1]
    counts = absorbed[:, -1] / absorbed[:, 1]  # the intensities are counts times the factor
    np.testing.assert_allclose(counts, counts.round(), atol=1e-6)


def repack(path, target, **changes):
    """Copy an archive; change the members whose names contain a key."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            for key, change in changes.items():
                content = change(content) if key in name else content
            copy.writestr(name, content)
    return target


def test_attenuation(tmp_path):
    counts = [5, 8, 9, 4]
    text = XRDML.read_text()
    text = re.sub("(?s)<intensities.*</intensities>", f"<counts>{' '.join(map(str, counts))}</counts>", text)
    text = text.replace("<counts>", "<beamAttenuationFactors>1 20 20 1</beamAttenuationFactors><counts>")
    assert read_profile(write(tmp_path, "a.xrdml", text)).intensity.tolist() == [5, 160, 180, 4]

    def attenuate(content):
        lines = content.decode("utf-8-sig").split("\r\n")
        return "\r\n".join([*(f"{line[:-1]}10" for line in lines[:5]), *lines[5:]]).encode()

    ratio = read_profile(repack(RASX, tmp_path / "a.rasx", Profile=attenuate)).intensity
    ratio = ratio / read_profile(RASX).intensity
    np.testing.assert_allclose(ratio, np.where(np.arange(len(ratio)) < 5, 10, 1))


def test_content_selects_the_reader(tmp_path):
    for source in (XRDML, RASX):
        renamed = write(tmp_path, "scan.txt", source.read_bytes())
        np.testing.assert_array_equal(read_profile(renamed).intensity, read_profile(source).intensity)
    text = "".join(f"{x:.2f} {c:g}\n" for x, c in zip(TWO_THETA, COUNTS, strict=True))
    for name in ("a.xrdml", "a.raw", "a.rasx", "a.brml"):
        check(read_profile(write(tmp_path, name, text), wavelength=1.5406))
    utf_16 = XRDML.read_text().replace("UTF-8", "UTF-16").encode("utf-16")
    assert read_profile(write(tmp_path, "wide.xml", utf_16)).counting_time == 39.27


def two_scans():
    text = XRDML.read_text()
    scan = re.search(r"(?s)<scan .*</scan>", text)[0]
    other = scan.replace("39.27", "78.54")
    other = re.sub(r"(\d+)(?=[ <])", lambda m: str(2 * int(m[1])), other[other.index("<intensities") :])
    return text.replace(scan, scan + scan[: scan.index("<intensities")].replace("39.27", "78.54") + other)


def test_several_scans(tmp_path):
    path = write(tmp_path, "two.xrdml", two_scans())
    with pytest.raises(BrokenFileError, match=r"two\.xrdml: expected one scan, found 2; .* 0: Gonio .*; 1: "):
        read_profile(path)
    with pytest.raises(BrokenFileError, match=r"two\.xrdml: .*\b2\b"):
        read_profile(path, scan=2)
    first, second = read_profile(path, scan=0), read_profile(path, scan=1)
    np.testing.assert_allclose(second.intensity, 2 * first.intensity)
    joined = read_profile(path, scan="all")
    np.testing.assert_allclose(joined.intensity, second.intensity)  # 3 times the counts in 3 times the time
    assert joined.counting_time == 78.54
    with pytest.raises(ValueError, match="scan must be None, 'all' or a number from 0, got -1"):
        read_profile(path, scan=-1)


def test_ranges_of_text(tmp_path):
    head = (
        '*RAS_HEADER_START\n*MEAS_SCAN_STEP "0.05"\n*MEAS_SCAN_SPEED "{}"\n*MEAS_SCAN_SPEED_UNIT "deg/min"\n'
    )
    head += '*HW_XG_WAVE_LENGTH_ALPHA1 "1.5406"\n*MEAS_DATA_COUNT "20"\n*RAS_HEADER_END\n*RAS_INT_START\n'
    points = [f"{x:.2f} {c:g} 1\n" for x, c in zip(TWO_THETA, COUNTS, strict=True)]
    twice = [f"{x:.2f} {2 * c:g} 1\n" for x, c in zip(TWO_THETA, COUNTS, strict=True)]
    scans = [head.format(2) + "".join(points[:20]), head.format(1) + "".join(twice[20:])]
    text = "*RAS_DATA_START\n" + "".join(f"{scan}*RAS_INT_END\n" for scan in scans) + "*RAS_DATA_END\n"
    path = write(tmp_path, "two.ras", text)
    with pytest.raises(BrokenFileError, match=r"found 2; .* 0: 20 to 20\.95 in 20 points, 1\.5 s per point;"):
        read_profile(path)
    check(read_profile(path, scan=1), TWO_THETA[20:], 2 * COUNTS[20:], counting_time=3)
    check(read_profile(path, scan="all"), intensity=2 * COUNTS, counting_time=3)
    for length in (60, len(text) // 2, len(text) - 300, len(text) - 30, len(text) - 10):
        with pytest.raises(BrokenFileError, match=r"(?s)cut\.ras: .*truncated"):
            read_profile(write(tmp_path, "cut.ras", text[:length]), scan="all")
    bank = "BANK {} 40 40 CONST {} 5.0 0 0 FXY\n"
    rows = "".join(f"{100 * x:.1f} {c:g}\n" for x, c in zip(TWO_THETA, COUNTS, strict=True))
    path = write(
        tmp_path, "two.gsa", "title\n" + bank.format(1, 2000.0) + rows + bank.format(2, 2000.0) + rows
    )
    check(read_profile(path, wavelength=0.7, scan=1), wavelength=0.7)


def bruker_raw(n_points=40):
    """Return a file of version 3 with one range."""
    head = bytearray(712)
    head[:8], head[12:16], head[608:610] = b"RAW1.01\0", struct.pack("<i", 1), b"Mo"
    band = bytearray(304)
    for place, kind, value in [
        *((0, "i", 304), (4, "i", n_points), (8, "d", 10.0), (16, "d", 20.0), (176, "d", 0.05)),
        *((192, "f", 2.5), (196, "i", 0), (240, "d", 0.709319), (252, "i", 4)),
    ]:
        struct.pack_into(f"<{kind}", band, place, value)
    return bytes(head) + bytes(band) + COUNTS.astype("<f4").tobytes()


UXD = "; comment\n_FILEVERSION=2\n_WL1=1.5406\n_ANODE='Cu'\n_DRIVE='COUPLED'\n_STEPTIME=2.5\n_STEPSIZE=0.05\n"
UXD += "_STEPMODE='C'\n_START=20.0\n_2THETA=20.0\n_COUNTS\n" + " ".join(f"{c:g}" for c in COUNTS) + "\n"
UDF = "SampleIdent,quartz,/\nAnode,Cu,/\nLabdaAlpha1, 1.5406,/\nDataAngleRange, 20.0, 21.95,/\n"
UDF += "ScanStepSize, 0.05,/\nRawScan\n" + ", ".join(f"{c:.0f}" for c in COUNTS) + "/\n"
CPI = "SIETRONICS XRD SCAN\n20.0\n21.95\n0.05\nCu\n1.5406\n1-1-2000\n0.6\nquartz\nSCANDATA\n"
CPI += "".join(f"{c:g}\n" for c in COUNTS)


def test_older_formats(tmp_path):
    check(read_profile(write(tmp_path, "a.raw", bruker_raw())), wavelength=0.709319, counting_time=2.5)
    check(read_profile(write(tmp_path, "a.uxd", UXD)), counting_time=2.5)
    check(read_profile(write(tmp_path, "a.udf", UDF)))
    check(read_profile(write(tmp_path, "a.cpi", CPI)), counting_time=0.6)
    with pytest.raises(BrokenFileError, match=r"b\.raw: .*truncated"):
        read_profile(write(tmp_path, "b.raw", bruker_raw(41)))
    with pytest.raises(BrokenFileError, match=r"b\.raw: .* 2000000000 points"):
        read_profile(write(tmp_path, "b.raw", bruker_raw(2_000_000_000)))
    with pytest.raises(BrokenFileError, match=r"b\.cpi: expected 40 intensities .* truncated"):
        read_profile(write(tmp_path, "b.cpi", CPI[:-10]))
    with pytest.raises(BrokenFileError, match=r"b\.uxd: .*rocking curve"):
        read_profile(write(tmp_path, "b.uxd", UXD.replace("COUPLED", "THETA")))


def test_arrays(tmp_path):
    path = tmp_path / "two.npz"
    np.savez(
        path, intensity=[COUNTS, 2 * COUNTS], two_theta=[20, 0.05, 40], wavelength=0.7, counting_time=3.0
    )
    check(read_profile(path, scan=1), intensity=2 * COUNTS, wavelength=0.7, counting_time=3)
    np.savez(path, intensity=COUNTS, q=TWO_THETA / 100)
    np.testing.assert_allclose(read_profile(path).q, TWO_THETA / 100)
    with pytest.raises(BrokenFileError, match=r"two\.npz: axis='two_theta', but the file gives q"):
        read_profile(path, axis="two_theta")
    np.savez(path, intensity=COUNTS)
    with pytest.raises(BrokenFileError, match=r"two\.npz: expected one array 'q' or 'two_theta'"):
        read_profile(path)


def test_copper_is_assumed_once(tmp_path, recwarn):
    text = "".join(f"{x:.2f} {c:g}\n" for x, c in zip(TWO_THETA, COUNTS, strict=True))
    path = write(tmp_path, "scan.xy", text)
    assert read_profile(path).wavelength == 1.5406
    assert [str(w.message) for w in recwarn] == [
        "scan.xy: neither the file nor the parameter gives a wavelength; copper Kα1, 1.5406 Å, is assumed"
    ]
    assert recwarn.pop().filename == __file__
    read_profile(path, wavelength=0.7)
    read_profile(write(tmp_path, "a.xy", "# lambda = 1.79 A\n" + text))
    read_profile(path, axis="q")
    assert not recwarn


def test_anode_gives_the_wavelength(tmp_path):
    text = re.sub("(?s)<usedWavelength.*</usedWavelength>", "", XRDML.read_text())
    assert read_profile(write(tmp_path, "a.xrdml", text)).wavelength == pytest.approx(1.5406, abs=1e-5)


def test_rietx_is_named(monkeypatch):
    monkeypatch.setattr("xtalsk.io._vendors.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"panalytical_powder\.xrdml.*rietx.*xtalsk\[powder\]"):
        read_profile(XRDML)
