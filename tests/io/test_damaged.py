"""Damaged and hostile files: every reader raises BrokenFileError with the name of the file, and ends."""

import io
import pickle
import struct
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xtalsk.diffraction import PowderProfile, RadialProfile
from xtalsk.io import BrokenFileError, read_image, read_profile, read_spectrum
from xtalsk.io import _constants as constants
from xtalsk.utils import BrokenCellWarning

N_MUTATIONS = 40  # of each kind of file
rng = np.random.default_rng(0)
PIXELS = rng.poisson(50, (24, 24)).astype(np.uint16)
ANGLES = 20 + 0.05 * np.arange(40)
EMSA = (
    "#FORMAT : EMSA/MAS Spectral Data File\n#VERSION : 1.0\n#NPOINTS : 8\n#XUNITS : eV\n#DATATYPE : Y\n"
    "#XPERCHAN : 10.0\n#OFFSET : -20.0\n#BEAMKV -kV: 20\n#SPECTRUM : \n3,\n5,\n8,\n9,\n4,\n2,\n1,\n0,\n"
    "#ENDOFDATA : \n"
)


DATA = Path(__file__).parents[1] / "data" / "formats"
RAS = (
    '*RAS_DATA_START\n*RAS_HEADER_START\n*MEAS_SCAN_AXIS_X "TwoTheta"\n*MEAS_DATA_COUNT "3"\n'
    "*RAS_HEADER_END\n*RAS_INT_START\n20.0 5 1\n20.1 9 1\n20.2 6 1\n*RAS_INT_END\n*RAS_DATA_END\n"
)
UXD = "_FILEVERSION=2\n_DRIVE='COUPLED'\n_STEPSIZE=0.05\n_STEPTIME=1\n_START=20\n_COUNTS\n5 9 6 4\n"
UDF = "SampleIdent,a,/\nDataAngleRange, 20.0, 20.3,/\nScanStepSize, 0.1,/\nRawScan\n5, 9, 6, 4/\n"
CPI = "SIETRONICS XRD SCAN\n20.0\n20.3\n0.1\nCu\n1.54\n1-1-00\n1\na\nSCANDATA\n5\n9\n6\n4\n"


def bruker_raw():
    head, band = bytearray(712), bytearray(304)
    head[:16] = b"RAW1.01\0" + bytes(4) + struct.pack("<i", 1)
    for place, value in ((0, 304), (4, 40), (252, 4)):
        struct.pack_into("<i", band, place, value)
    struct.pack_into("<d", band, 16, 20.0)
    struct.pack_into("<d", band, 176, 0.05)
    return bytes(head + band) + np.arange(40, dtype="<f4").tobytes()


def saved(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def columns(pattern):
    return "".join(pattern.format(x, 50 + i % 7) for i, x in enumerate(ANGLES)).encode()


def picture(kind, **options):
    data = Image.fromarray(PIXELS.astype(np.uint8))
    return saved(lambda b: data.save(b, kind, **options))


FILES = {
    "blanks.xy": (read_profile, b"# 2theta I\n" + columns("{:.2f} {}\n")),
    "commas.csv": (read_profile, b"2theta,d,I\n" + columns("{0:.2f},{0:.4f},{1}\n")),
    "decimal.xye": (read_profile, columns("{:.2f}; {:.1f}; 1.5\n").replace(b".", b",")),
    "steps.dat": (read_profile, b"20.0 0.05 21.95\n" + b" 51 52 53 54 55 56 57 58 59 60\n" * 4),
    "bank.gsa": (
        read_profile,
        b"title\nBANK 1 40 4 CONST 2000.0 5.0 0 0 STD\n" + (b" 1    51" * 10 + b"\n") * 4,
    ),
    "a.ras": (read_profile, RAS.encode()),
    "a.uxd": (read_profile, UXD.encode()),
    "a.udf": (read_profile, UDF.encode()),
    "a.cpi": (read_profile, CPI.encode()),
    "a.raw": (read_profile, bruker_raw()),
    "a.xrdml": (read_profile, (DATA / "panalytical_powder.xrdml").read_bytes()),
    "a.rasx": (read_profile, (DATA / "rigaku_powder.rasx").read_bytes()),
    "a.brml": (read_profile, (DATA / "bruker_absorber.brml").read_bytes()),
    "profile.npz": (read_profile, saved(lambda b: np.savez(b, intensity=ANGLES, two_theta=ANGLES))),
    "energies.txt": (read_spectrum, b"Energy (keV)\tCounts\n" + columns("{:.2f}\t{}\n")),
    "a.msa": (read_spectrum, EMSA.encode()),
    "spectrum.npz": (
        read_spectrum,
        saved(lambda b: np.savez(b, counts=np.ones(20), energy=np.arange(20.0), beam_energy=20.0)),
    ),
    "a.npy": (read_image, saved(lambda b: np.save(b, PIXELS))),
    "a.npz": (read_image, saved(lambda b: np.savez(b, data=PIXELS, pixel_size=0.01, center=[3.0, 4.0]))),
    "packed.npz": (read_image, saved(lambda b: np.savez_compressed(b, data=PIXELS, pixel_size=0.01))),
    "a.png": (read_image, picture("PNG")),
    "a.tif": (read_image, picture("TIFF")),
    "packed.tif": (read_image, picture("TIFF", compression="tiff_deflate")),
    "a.jpg": (read_image, picture("JPEG")),
    "a.bmp": (read_image, picture("BMP")),
    "a.gif": (read_image, picture("GIF")),
}


def mutate(content, random):
    """Return content with its end cut off, with bytes changed, inserted, repeated or removed."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, max(1, len(content))))
        size = int(random.integers(1, 12))
        kind = random.integers(0, 6)
        if kind == 0:
            del content[place:]
        elif kind == 1 and content:
            content[place % len(content)] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            content[place:place] = random.bytes(size)
        elif kind == 3:
            content[place : place + size] = random.bytes(size)
        elif kind == 4:
            content[place:place] = content[max(0, place - 50) : place] * 3
        else:
            words = [b"nan", b"inf", b"1e999", b"-", b",", b'"', b"\x00", b"\xff\xfe", b"9" * 400, b"\n"]
            content[place : place + size] = words[random.integers(0, len(words))]
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_sound_files_are_read(tmp_path, name):
    read, content = FILES[name]
    (tmp_path / name).write_bytes(content)
    read(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_raise_one_error(tmp_path, name):
    read, content = FILES[name]
    random = np.random.default_rng(list(name.encode()))
    path = tmp_path / name
    messages = []
    for _ in range(N_MUTATIONS):
        path.write_bytes(mutate(content, random))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except BrokenFileError as error:
            messages.append(str(error))
    assert messages
    assert all(message.startswith(f"{name}: ") for message in messages)


def npz(**members):
    def save(buffer):
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, content in members.items():
                archive.writestr(f"{member}.npy", content)

    return saved(save)


def npy(header, data=b""):
    text = (header + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def huge_png(side):
    content = bytearray(picture("PNG"))
    import zlib

    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def huge_tiff(buffer):
    """Write a TIFF of 64-bit numbers, which Pillow does not read, that claims 4e10 pixels."""
    tags = [
        (256, 200_000),
        (257, 200_000),
        (258, 64),
        (259, 1),
        (262, 1),
        (273, 8),
        (278, 200_000),
        (279, 64),
    ]
    tags += [(339, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    buffer.write(
        b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


HOSTILE = {
    "empty.npz": b"",
    "cut.npz": FILES["packed.npz"][1][:150],
    "crc.npz": FILES["a.npz"][1].replace(PIXELS.tobytes()[:8], b"\x00" * 8, 1),
    "objects.npz": saved(lambda b: np.savez(b, data=np.array([{}, []], dtype=object))),
    "unclosed.npz": npz(data=npy("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 2")),
    "no_descr.npz": npz(data=npy("{'shape': (2, 2), 'fortran_order': False}")),
    "huge_shape.npz": npz(
        data=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999)}")
    ),
    "negative.npz": npz(data=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 4)}")),
    "text.npz": npz(data=b"no array"),
    "huge.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999999999, 9)}"),
    "empty.npy": b"",
    "pickle.npy": pickle.dumps({"data": 1}),
    "empty.png": b"",
    "empty.tif": b"",
    "huge.png": huge_png(60_000),
    "text.jpg": b"no image",
    "huge.tif": FILES["a.tif"][1].replace(
        struct.pack("<HHII", 256, 4, 1, 24), struct.pack("<HHII", 256, 4, 1, 2**31)
    ),
    "flat.tif": FILES["a.tif"][1].replace(
        struct.pack("<HHII", 256, 4, 1, 24), struct.pack("<HHII", 256, 4, 1, 0)
    ),
    "huge_64.tif": saved(lambda b: huge_tiff(b)),
    "many_digits.xy": b"1" * 5000 + b" 2\n3 4\n",
    "binary.xy": bytes(range(256)) * 4,
    "no_lines.xy": b"",
    "scan.xrdml": b"<?xml version='1.0'?><xrdMeasurements/>",
    "empty.msa": b"",
    "huge.msa": EMSA.replace("10.0", "1e999").encode(),
    "complex.npy": saved(lambda b: np.save(b, np.ones((4, 4), dtype=complex))),
    "infinite.npy": saved(lambda b: np.save(b, np.full((4, 4), np.inf))),
}
READERS = {".npz": read_image, ".npy": read_image, ".png": read_image, ".tif": read_image, ".jpg": read_image}
READERS |= {".msa": read_spectrum}


def entity_bomb(n_levels):
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, n_levels))
    return f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "20 ">{levels}]>', f"&e{n_levels - 1};"


def xrdml(intensities, head=""):
    return (
        f'{head}<xrdMeasurements><xrdMeasurement><scan scanAxis="Gonio"><dataPoints><positions axis="2Theta">'
        "<startPosition>20</startPosition><endPosition>60</endPosition></positions>"
        f"<intensities>{intensities}</intensities></dataPoints></scan></xrdMeasurement></xrdMeasurements>"
    ).encode()


def archive(**members):
    def save(buffer):
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for member, content in members.items():
                file.writestr(member.replace("__", "/").replace("_", "."), content)

    return saved(save)


ROOT = "<Root><Data0><ContentHashList Name='Profile0.txt'/></Data0></Root>"
HOSTILE |= {
    "bomb.xrdml": xrdml(entity_bomb(12)[1], entity_bomb(12)[0]),
    "quadratic.xrdml": xrdml("&e;" * 20_000, f"<!DOCTYPE a [<!ENTITY e '{'20 ' * 20_000}'>]>"),
    "outside.xrdml": xrdml("&e;", "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"),
    "deep.xrdml": xrdml("<a>" * 50_000 + "</a>" * 50_000),
    "empty.xrdml": b"",
    "empty.rasx": b"",
    "nothing.rasx": archive(),
    "bomb.rasx": archive(Data0__Profile0_txt=bytes(70_000_000), root_xml=ROOT),
    "huge.rasx": archive(Data0__Profile0_txt=b"20.0 " * 2_000_000, root_xml=ROOT),
    "up.rasx": archive(Data0__Profile0_txt="20 5\n21 6\n", root_xml=ROOT.replace("Pr", "../../../etc/Pr")),
    "bomb.brml": archive(
        Experiment0__DataContainer_xml=f"{entity_bomb(12)[0]}<a>{entity_bomb(12)[1]}</a>",
        Experiment0__RawData0_xml="<a/>",
    ),
    "claims.raw": bruker_raw().replace(struct.pack("<i", 40), struct.pack("<i", 2**31 - 1), 1),
    "claims.udf": UDF.replace("0.1", "1e-12").encode(),
    "claims.cpi": CPI.replace("0.1", "1e-300").encode(),
    "claims.gsa": b"title\nBANK 1 2000000000 4 CONST 2000.0 5.0 0 0 STD\n 1 51\n",
    "claims.uxd": UXD.replace("0.05", "1e300").encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_raise_one_error(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    started = time.monotonic()
    with pytest.raises(BrokenFileError, match=rf"^{name}: "):
        READERS.get(path.suffix, read_profile)(path)
    assert time.monotonic() - started < 20


def test_large_archives_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("xtalsk.io._files.LARGEST_ARCHIVE", 1000)
    np.savez_compressed(tmp_path / "bomb.npz", data=np.zeros((100, 100)))
    with pytest.raises(BrokenFileError, match=r"bomb\.npz: .* arrays take 8.*e\+04 bytes, more than 1e\+03"):
        read_image(tmp_path / "bomb.npz")


def test_broken_files_are_reported_and_the_batch_ends(tmp_path):
    for name in ("cut.npz", "empty.png", "huge.png", "unclosed.npz"):
        (tmp_path / name).write_bytes(HOSTILE[name])
    np.savez(tmp_path / "good.npz", data=rng.poisson(50, (32, 32)), pixel_size=0.02)
    cells = [str(path) for path in sorted(tmp_path.iterdir())]
    transformer = RadialProfile(n_bins=20, on_error="warn").fit([None])
    with pytest.warns(BrokenCellWarning, match=r"(?s)4 of 5 .*cut\.npz: .*unclosed\.npz: "):
        features = transformer.transform(cells)
    assert [bool(np.isfinite(row).any()) for row in features] == [False, False, True, False, False]
    (tmp_path / "scan.xy").write_bytes(HOSTILE["binary.xy"])
    powder = PowderProfile(wavelength=1.5406, on_error="warn").fit([None])
    with pytest.warns(BrokenCellWarning, match=r"1 of 1 .*\n.*scan\.xy"):
        powder.transform([str(tmp_path / "scan.xy")])


def test_paths_that_are_no_files(tmp_path):
    for path in (tmp_path, tmp_path / "absent.xy", "a\x00b.xy"):
        for read in (read_profile, read_image, read_spectrum):
            with pytest.raises(OSError, match="no such file"):
                read(path)


@pytest.fixture
def foreign(tmp_path):
    pytest.importorskip("rsciio")
    header = np.zeros(256, dtype="<i4")
    header[:4] = 24, 24, 1, 6
    header[7:10] = 24, 24, 1
    path = tmp_path / "rings.mrc"
    path.write_bytes(header.tobytes() + PIXELS.tobytes())
    return path


def test_reading_that_hangs_or_crashes_is_ended(foreign, monkeypatch):
    from xtalsk.io import _rosettasciio

    np.testing.assert_array_equal(read_image(foreign).data, PIXELS)
    for code in ("lambda *a: __import__('time').sleep(60)", "lambda *a: __import__('os')._exit(3)"):
        with monkeypatch.context() as patch:
            patch.setattr(constants, "FOREIGN_TIME_LIMIT", 1.0)
            started = time.monotonic()
            with pytest.raises(ValueError, match=r"rings\.mrc: rosettasciio did not finish within 1 s, or"):
                _rosettasciio.read_microscope(foreign, Misbehave(code))
            assert time.monotonic() - started < 5
        np.testing.assert_array_equal(read_image(foreign).data, PIXELS)  # the next file is read again


class Misbehave:
    """Code that unpickling in the other process turns into the function that chooses a signal."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return eval, (self.code,)


def test_readers_may_print(foreign, capfd):
    from xtalsk.io import _rosettasciio

    shape = _rosettasciio.read_microscope(
        foreign, Misbehave("lambda signals, name: print(name) or signals[0]['data'].shape")
    )
    assert shape == (24, 24)
    assert capfd.readouterr().out == ""


def test_a_forked_process_reads_by_itself(foreign):
    import os

    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    read_image(foreign)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if np.array_equal(read_image(foreign).data, PIXELS) else 2
        finally:
            os._exit(status)
    np.testing.assert_array_equal(read_image(foreign).data, PIXELS)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000 + "x 5\n",
        "20 5\n21 " + "9" * 100_000 + "x\n",
        "# " + "(" * 100_000 + "\n",
        "# lambda " + " " * 100_000 + "\n",
        "#" + "A" * 100_000 + "\n",
        "1 " * 50_000 + "\n",
        "1," * 50_000 + "\n",
        '"' * 100_000 + "\n",
        "2theta" + " / " * 30_000 + "\n20 5\n21 x\n",
        "#NPOINTS : " + "9" * 100_000 + "x\n#SPECTRUM\n1\n",
    ],
)
def test_long_lines_end_soon(tmp_path, text):
    for name, read in (("a.xy", read_profile), ("b.txt", read_spectrum), ("c.msa", read_spectrum)):
        (tmp_path / name).write_text(text)
        started = time.monotonic()
        with pytest.raises(BrokenFileError, match=rf"^{name}: "):
            read(tmp_path / name)
        assert time.monotonic() - started < 2
