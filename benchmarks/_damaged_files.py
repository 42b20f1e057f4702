"""Damaged and hostile files for bench_io.py: mutations of sound files, false sizes, and bombs."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = [
    b"nan",
    b"inf",
    b"1e999",
    b"-",
    b",",
    b'"',
    b"\x00",
    b"\xff\xfe",
    b"9" * 400,
    b"\n",
    b"<",
    b"&e;",
    b"%n",
]
SUFFIXES = (
    *(".xy", ".csv", ".txt", ".xrdml", ".rasx", ".brml", ".ras", ".raw", ".uxd", ".udf", ".cpi", ".gsa"),
    *(".npz", ".npy", ".png", ".tif", ".msa"),
)


def small_files(folder):
    """Return {name: content} of small sound files: of a folder ``tests/data``, and made here."""
    folder = Path(folder)
    files = {path.name: path.read_bytes() for path in (folder / "formats").iterdir() if path.suffix != ".md"}
    files["ras.ras"] = (
        files.pop("rigaku_nims.ras")[:9_000] + b"25.0 5 1\n25.1 6 1\n*RAS_INT_END\n*RAS_DATA_END\n"
    )
    files["steel.msa"] = (folder / "eds" / "k309" / "Fe std.msa").read_bytes()
    two_theta = 20 + 0.1 * np.arange(60)
    counts = 50 + np.arange(60) % 7
    rows = "".join(f"{x:.2f} {c}\n" for x, c in zip(two_theta, counts, strict=True))
    listed = " ".join(map(str, counts))
    files["scan.xy"] = rows.encode()
    files["scan.csv"] = ("2theta,d,I\n" + rows.replace(" ", ",1.5,")).encode()
    files["scan.dat"] = (
        "20.0 0.1 25.9\n" + "\n".join(" 51 52 53 54 55 56 57 58 59 60" for _ in range(6))
    ).encode()
    files["scan.gsa"] = ("title\nBANK 1 60 6 CONST 2000. 10. 0 0 FXY\n" + rows.replace(".", "")).encode()
    files["scan.cpi"] = (
        "SIETRONICS XRD SCAN\n20\n25.9\n0.1\nCu\n1.54\n1\n1\na\nSCANDATA\n" + listed.replace(" ", "\n")
    ).encode()
    files["scan.udf"] = (
        f"SampleIdent,a,/\nDataAngleRange, 20.0, 25.9,/\nScanStepSize, 0.1,/\nRawScan\n"
        f"{listed.replace(' ', ',')}/\n"
    ).encode()
    files["scan.uxd"] = (
        f"_FILEVERSION=2\n_DRIVE='COUPLED'\n_STEPSIZE=0.1\n_STEPTIME=1\n_START=20\n_COUNTS\n{listed}\n"
    ).encode()
    files["scan.raw"] = bruker_raw(counts)
    files["scan.npz"] = saved(lambda b: np.savez(b, intensity=counts, two_theta=two_theta))
    pixels = np.random.default_rng(0).poisson(50, (24, 24)).astype(np.uint8)
    files["rings.npy"] = saved(lambda b: np.save(b, pixels))
    files["rings.npz"] = saved(lambda b: np.savez_compressed(b, data=pixels, pixel_size=0.01))
    for name, kind in (("rings.png", "PNG"), ("rings.tif", "TIFF"), ("rings.jpg", "JPEG")):
        files[name] = saved(lambda b, kind=kind: Image.fromarray(pixels).save(b, kind))
    files["manifest.csv"] = b"rings,pixel_size,formula\nrings.npy,0.01,Au\nrings.png,0.02,NaCl\n"
    return files


def saved(save):
    """Return what a function writes to a file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def bruker_raw(counts, n_points=None):
    """Return a Bruker file of version 3 with one range."""
    head, band = bytearray(712), bytearray(304)
    head[:16] = b"RAW1.01\0" + bytes(4) + struct.pack("<i", 1)
    for place, value in ((0, 304), (4, len(counts) if n_points is None else n_points), (252, 4)):
        struct.pack_into("<i", band, place, value)
    for place, value in ((16, 20.0), (176, 0.1), (240, 1.5406)):
        struct.pack_into("<d", band, place, value)
    return bytes(head + band) + np.asarray(counts, dtype="<f4").tobytes()


def mutate(content, random):
    """Return content with its end cut off, or with bytes flipped, inserted, replaced, repeated or removed."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, max(1, len(content))))
        size = int(random.integers(1, 12))
        kind = random.integers(0, 6)
        if kind == 0:
            del content[place:]
        elif kind == 1 and content:
            content[place] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            content[place:place] = random.bytes(size)
        elif kind == 3:
            content[place : place + size] = random.bytes(size)
        elif kind == 4:
            content[place:place] = content[max(0, place - 50) : place] * 3
        else:
            content[place : place + size] = WORDS[random.integers(0, len(WORDS))]
    return bytes(content)


def repack(content, random):
    """Return a zip archive with one member mutated, and with the right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    broken = sorted(members)[random.integers(0, len(members))]
    members[broken] = mutate(members[broken], random)
    return archive(members)


def archive(members):
    """Return a zip archive of {name: content}."""

    def save(buffer):
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content)

    return saved(save)


def _entities(n_levels):
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, n_levels))
    return f'<!DOCTYPE a [<!ENTITY e0 "20 ">{levels}]>', f"&e{n_levels - 1};"


def _xrdml(head, intensities):
    return (
        f'{head}<xrdMeasurements><xrdMeasurement><scan scanAxis="Gonio"><dataPoints><positions axis="2Theta">'
        "<startPosition>20</startPosition><endPosition>60</endPosition></positions>"
        f"<intensities>{intensities}</intensities></dataPoints></scan></xrdMeasurement></xrdMeasurements>"
    ).encode()


def bombs(marker):
    """Return {name: content} of hostile files: bombs, false sizes, links, and code that would make a file."""
    root = "<Root><Data0><ContentHashList Name='Profile0.txt'/></Data0></Root>"
    listed = "<a><RawDataReferenceList><string>Experiment0/RawData0.xml</string></RawDataReferenceList></a>"
    profile, container, raw = (
        "Data0/Profile0.txt",
        "Experiment0/DataContainer.xml",
        "Experiment0/RawData0.xml",
    )

    class Code:
        def __reduce__(self):
            return open, (str(marker), "w")

    code = pickle.dumps(Code())
    objects = np.array([None], dtype=object)
    huge = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999)}\n"
    return {
        "billion.xrdml": _xrdml(*_entities(12)),
        "quadratic.xrdml": _xrdml(f"<!DOCTYPE a [<!ENTITY e '{'20 ' * 50_000}'>]>", "&e;" * 50_000),
        "outside.xrdml": _xrdml("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", "&e;"),
        "deep.xrdml": _xrdml("", "<a>" * 200_000 + "</a>" * 200_000),
        "zeros.rasx": archive({profile: bytes(2**30), "root.xml": root}),
        "words.rasx": archive({profile: b"20.0 " * 12_000_000, "root.xml": root}),
        "rows.rasx": archive({profile: b"20.0 1 1\n" * 7_000_000, "root.xml": root}),
        "above.rasx": archive(
            {profile: "20 5\n21 6\n", "root.xml": root.replace("Pr", "../../../../etc/Pr")}
        ),
        "billion.brml": archive({container: "{}<a>{}</a>".format(*_entities(12)), raw: "<a/>"}),
        "elements.brml": archive({container: listed, raw: "<a>" + "<Datum/>" * 8_000_000 + "</a>"}),
        "members.rasx": archive({f"Data{i}/Profile{i}.txt": "" for i in range(65_000)}),
        "claims.raw": bruker_raw([1, 2, 3], 2**31 - 1),
        "claims.gsa": b"title\nBANK 1 2000000000 4 CONST 2000.0 5.0 0 0 STD\n 1 51\n",
        "claims.cpi": b"SIETRONICS XRD SCAN\n0\n90\n1e-300\nCu\n1\n1\n1\na\nSCANDATA\n1\n2\n",
        "claims.npy": b"\x93NUMPY\x01\x00" + len(huge).to_bytes(2, "little") + huge,
        "code.npy": saved(lambda b: np.save(b, np.array([Code()], dtype=object), allow_pickle=True)),
        "code.npz": saved(lambda b: np.savez(b, data=np.array([Code()], dtype=object))),
        "objects.npz": saved(lambda b: np.savez(b, intensity=objects, two_theta=objects)),
        "code.raw": code,
        "code.xy": code,
        "code.xrdml": code,
        "code.hspy": code,
    }
