"""Manifests: good rows become cells that are read on use, broken rows a table."""

import os
import pickle
import shutil
import sys
import warnings
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xtalsk.compose import make_features
from xtalsk.composition import ElementPresence
from xtalsk.diffraction import PowderProfile, RadialProfile
from xtalsk.io import (
    BrokenFileError,
    DiffractionImage,
    FileCell,
    read_image,
    read_profile,
    read_specimens,
    read_spectrum,
)
from xtalsk.spectra import SpectrumBins
from xtalsk.utils import BrokenCellWarning

DATA = Path(__file__).parents[1] / "data"


def rings(seed):
    y, x = np.mgrid[:64, :64] - 31.5
    image = 20 + 400 * np.exp(-(((np.hypot(x, y) - 15 - seed) / 1.5) ** 2))
    return np.random.default_rng(seed).poisson(image).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        np.save(tmp_path / "images" / f"{i}.npy", rings(i))
    np.save(tmp_path / "stack.npy", np.stack([rings(3), rings(4)]))
    (tmp_path / "scan.xy").write_text("".join(f"{x / 10} {50 + x % 7}\n" for x in range(200, 900)))
    shutil.copy(DATA / "eds" / "k309" / "Fe std.msa", tmp_path / "a.msa")
    return tmp_path


def manifest(folder, text, name="manifest.csv"):
    (folder / name).write_text(text)
    return folder / name


TABLE = (
    "sample,rings,rings_pixel_size,powder,wavelength,eds,beam_energy,formula,space_group,group\n"
    "a,images/0.npy,0.02,scan.xy,1.5406,a.msa,,SiO2,152,quartz\n"
    'b,stack.npy#1,0.021,,,,,"Ba, Ti, O",221,perovskite\n'
    "\n"
    "c,,,,,a.msa,12,,225,salt\n"
)


def test_good_rows(folder):
    found = read_specimens(manifest(folder, TABLE), target="space_group", groups="group")
    assert list(found.X.columns) == ["rings", "powder", "eds", "formula"]
    assert found.X.index.tolist() == [2, 3, 5]
    assert found.y.tolist() == [152, 221, 225]
    assert found.groups.tolist() == ["quartz", "perovskite", "salt"]
    assert list(found.broken.columns) == ["line", "column", "value", "reason"]
    assert found.broken.empty
    assert found.X.loc[5, ["rings", "powder", "formula"]].isna().all()
    image = found.X.rings[3].read()
    np.testing.assert_array_equal(image.data, rings(4))
    assert image.pixel_size == 0.021
    assert found.X.powder[2].read().wavelength == 1.5406
    energies = [found.X.eds[line].read().beam_energy for line in (2, 5)]
    assert energies == [read_spectrum(folder / "a.msa").beam_energy, 12]  # the manifest replaces it
    assert found.X.formula.tolist() == ["SiO2", "Ba, Ti, O", None]
    assert read_specimens(folder / "manifest.csv").y is None


def test_cells_serve_all_transformers(folder):
    X = read_specimens(manifest(folder, TABLE)).X
    features = make_features(
        rings=("rings", RadialProfile(32)),
        powder=("powder", PowderProfile(32)),
        spectra=("eds", SpectrumBins(8)),
        presence=("formula", ElementPresence()),
    )
    table = features.fit_transform(X)
    measured = X.copy()
    measured["rings"] = [
        DiffractionImage(rings(0), pixel_size=0.02),
        DiffractionImage(rings(4), pixel_size=0.021),
        None,
    ]
    measured["powder"] = [read_profile(folder / "scan.xy", wavelength=1.5406), None, None]
    measured["eds"] = [cell and cell.read() for cell in X.eds]
    pd.testing.assert_frame_equal(table, features.fit_transform(measured))
    assert table.notna().any().any()
    pd.testing.assert_frame_equal(table, pickle.loads(pickle.dumps(features)).transform(X))


def test_dialects(folder):
    expected = read_specimens(manifest(folder, TABLE)).X
    frame = pd.read_csv(folder / "manifest.csv")
    for name, text in (
        ("a.tsv", frame.to_csv(sep="\t", index=False)),
        ("a.txt", frame.to_csv(sep=";", index=False)),
        ("b.csv", "\ufeff" + TABLE.replace("\n", "\r\n")),
        ("c.csv", TABLE.replace("images/", "images\\")),
    ):
        X = read_specimens(manifest(folder, text, name)).X
        assert X.map(repr).to_numpy().tolist() == expected.map(repr).to_numpy().tolist(), name
    X = read_specimens(frame, folder=folder).X
    assert X.map(repr).to_numpy().tolist() == expected.map(repr).to_numpy().tolist()
    with pytest.raises(ValueError, match="folder"):
        read_specimens(frame)


def test_spreadsheet(folder):
    pytest.importorskip("openpyxl")
    manifest(folder, TABLE)
    pd.read_csv(folder / "manifest.csv").to_excel(folder / "a.xlsx", index=False)
    found = read_specimens(folder / "a.xlsx", target="space_group")
    assert found.y.tolist() == [152, 221, 225]
    assert found.X.rings[3].read().pixel_size == 0.021


def test_other_names(folder):
    text = "file,pixel_size_inv_angstrom,beam_energy_kV,formula\nimages/0.npy,0.02,200,Au\n"
    path = manifest(folder, text)
    names = {"file": "rings", "pixel_size_inv_angstrom": "pixel_size"}
    with pytest.raises(
        BrokenFileError, match=r"manifest\.csv: the column 'beam_energy_kV' is not known; .*None"
    ):
        read_specimens(path, columns=names)
    X = read_specimens(path, columns=names | {"beam_energy_kV": None}).X
    assert X.rings[2].read().pixel_size == 0.02
    for columns, message in (
        ({"image": "rings"}, "no column 'image'"),
        ({"file": "rings", "formula": "rings"}, r"\['rings'\] appear more than once"),
        ({"formula": None}, "expected a column of"),
    ):
        with pytest.raises(BrokenFileError, match=rf"manifest\.csv: .*{message}"):
            read_specimens(path, columns={"pixel_size_inv_angstrom": None, "beam_energy_kV": None} | columns)
    with pytest.raises(BrokenFileError, match=r"the column 'ring' is not known.* 'rings'"):
        read_specimens(manifest(folder, "ring,formula\n,Au\n"))
    with pytest.raises(BrokenFileError, match="no column 'y'"):
        read_specimens(manifest(folder, "formula\nAu\n"), target="y")


BROKEN = {
    "images/9.npy,0.02,1,Au": ("rings", "no such file"),
    "images,0.02,1,Au": ("rings", "no such file"),
    "../secret.npy,0.02,1,Au": ("rings", "outside the folder of the manifest"),
    "images/../../secret.npy,0.02,1,Au": ("rings", "outside the folder of the manifest"),
    "..\\secret.npy,0.02,1,Au": ("rings", "outside the folder of the manifest"),
    "/etc/passwd,0.02,1,Au": ("rings", "expected a path relative to the manifest"),
    "C:\\secret.npy,0.02,1,Au": ("rings", "expected a path relative to the manifest"),
    "link.npy,0.02,1,Au": ("rings", "outside the folder of the manifest"),
    "linked/secret.npy,0.02,1,Au": ("rings", "outside the folder of the manifest"),
    "images/0.npy,wide,1,Au": ("pixel_size", "expected a number"),
    '"images/0.npy","0,02",1,Au': ("pixel_size", "expected a number with a decimal point"),
    "images/0.npy,-0.02,1,Au": ("pixel_size", "expected a positive number"),
    "images/0.npy,nan,1,Au": ("pixel_size", "expected a finite number"),
    "images/0.npy,0.02,,Au": ("space_group", "expected a label"),
    "images/0.npy,0.02,1,Quartz": ("formula", "does not parse"),
    "images/0.npy,0.02,1,Au,more": ("", "expected 4 fields, found 5"),
    "images/0.npy,0.02,1": ("", "expected 4 fields, found 3"),
    ",,1,": ("", "it names no measurement"),
}


@pytest.fixture
def outside(folder, tmp_path_factory):
    np.save(folder.parent / "secret.npy", rings(5))
    if hasattr(os, "symlink"):
        (folder / "link.npy").symlink_to(folder.parent / "secret.npy")
        (folder / "linked").symlink_to(folder.parent)
    yield folder.parent / "secret.npy"
    (folder.parent / "secret.npy").unlink()


def test_broken_rows_become_a_table(folder, outside):
    good = "images/1.npy,0.02,225,Au\n"
    rows = "".join(f"{row}\n{good}" for row in BROKEN)
    path = manifest(folder, "rings,pixel_size,space_group,formula\n" + rows)
    with pytest.warns(
        BrokenCellWarning, match=r"manifest\.csv: 18 of 36 rows .* left out:\nline 2, column ring"
    ):
        found = read_specimens(path, target="space_group")
    assert len(found.X) == len(found.y) == len(BROKEN)
    assert found.X.index.tolist() == list(range(3, 3 + 2 * len(BROKEN), 2))
    assert found.broken.line.tolist() == list(range(2, 2 + 2 * len(BROKEN), 2))
    for (_, row), (column, reason) in zip(found.broken.iterrows(), BROKEN.values(), strict=True):
        assert row.column == column
        assert reason in row.reason
    with pytest.raises(BrokenFileError, match=r"(?s)manifest\.csv: 18 of 36 rows are broken:.*and 8 more"):
        read_specimens(path, target="space_group", on_error="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        allowed = read_specimens(path, target="space_group", allow_outside=True)
    assert len(allowed.X) == len(BROKEN) + 6  # /etc/passwd among them
    np.testing.assert_array_equal(allowed.X.rings[6].read().data, rings(5))


def test_links_that_appear_later_are_refused(folder, outside):
    cell = read_specimens(manifest(folder, "rings\nimages/0.npy\n")).X.rings[2]
    (folder / "images" / "0.npy").unlink()
    (folder / "images" / "0.npy").symlink_to(outside)
    with pytest.raises(BrokenFileError, match=r"manifest\.csv, line 2, column rings: '0\.npy' is outside"):
        cell.read()


def test_a_hundred_bad_rows_among_ten_thousand(folder):
    text = ["images/0.npy,0.02,Au"] * 10_000
    for row in range(0, 10_000, 100):
        text[row] = "images/absent.npy,0.02,Au"
    path = manifest(folder, "rings,pixel_size,formula\n" + "\n".join(text))
    with pytest.warns(BrokenCellWarning, match="100 of 10000 rows"):
        found = read_specimens(path)
    assert (len(found.X), len(found.broken)) == (9_900, 100)
    assert len(pickle.dumps(found.X)) < 9_900 * 200


def test_files_are_checked_on_request(folder):
    (folder / "bad.npy").write_text("no array")
    path = manifest(folder, "rings,pixel_size\nimages/0.npy,0.02\nbad.npy,0.02\nstack.npy,1\nstack.npy#2,1\n")
    assert len(read_specimens(path).X) == 4
    for n_jobs in (None, 2):
        with pytest.warns(BrokenCellWarning, match="3 of 4"):
            found = read_specimens(path, check_files=True, n_jobs=n_jobs)
        assert found.broken.value.tolist() == ["bad.npy", "stack.npy", "stack.npy#2"]
        assert found.broken.reason.str.match(r"bad\.npy: |stack\.npy: ").all()
    X = read_specimens(path).X
    with pytest.raises(
        ValueError, match=r"row 1 of column rings: manifest\.csv, line 3, column rings: bad\.npy: "
    ):
        RadialProfile(32).fit_transform(X[["rings"]])
    with pytest.warns(BrokenCellWarning, match="3 of 4 specimens"):
        features = RadialProfile(32, on_error="warn").fit_transform(X[["rings"]])
    assert np.isfinite(features).any(axis=1).tolist() == [True, False, False, False]
    (folder / "images" / "0.npy").unlink()
    with pytest.raises(
        BrokenFileError, match=r"manifest\.csv, line 2, column rings: .*0\.npy'?: no such file"
    ):
        X.rings[2].read()


def test_only_a_portion_is_in_memory(folder, monkeypatch):
    path = manifest(folder, "rings\n" + "\n".join(f"images/{i % 3}.npy" for i in range(10)))
    X = read_specimens(path).X
    whole = RadialProfile(32, pixel_size=0.02).fit_transform(X)
    alive, most = weakref.WeakSet(), []

    def read(*arguments, **options):
        image = read_image(*arguments, **options)
        alive.add(image)
        most.append(len(alive))
        return image

    monkeypatch.setattr("xtalsk.io._file_cell.read_image", read)
    monkeypatch.setattr("xtalsk.utils._cell_transformer._PORTION", 3)
    portions = RadialProfile(32, pixel_size=0.02).fit_transform(X)
    np.testing.assert_allclose(portions, whole, atol=1e-6)
    assert len(most) == 10
    assert max(most) <= 6


def test_features_in_the_cache_are_not_read_again(folder, monkeypatch):
    X = read_specimens(manifest(folder, "rings\nimages/0.npy\nimages/1.npy\n")).X
    transformer = RadialProfile(32, pixel_size=0.02, cache=True).fit(X)
    first = transformer.transform(X)
    shutil.rmtree(folder / "images")
    np.testing.assert_array_equal(transformer.transform(X), first)
    with pytest.raises(ValueError, match="no such file"):
        transformer.set_params(n_bins=16).fit_transform(X)


def test_parts_of_files(folder):
    np.savez(folder / "two.npz", intensity=np.ones((2, 50)), two_theta=[20, 0.1, 50], wavelength=0.7)
    np.save(folder / "odd#1.npy", rings(2))
    text = "rings,powder\nstack.npy#0,two.npz#1\nodd#1.npy,two.npz#all\n,two.npz\n"
    X = read_specimens(manifest(folder, text)).X
    np.testing.assert_array_equal(X.rings[3].read().data, rings(2))
    assert X.powder[2].read().wavelength == 0.7
    assert repr(X.powder[3]) == "FileCell(two.npz#all, powder)"
    assert X.powder[3].read().intensity.tolist() == [1] * 50
    with pytest.raises(BrokenFileError, match=r"line 4, column powder: two\.npz: expected one scan, found 2"):
        X.powder[4].read()


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\x00\x01\x02rings", b"PK\x03\x04", b"rings\n", b'"rings\n']
)
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.xlsx"])
def test_files_that_are_no_manifest(tmp_path, name, content):
    pytest.importorskip("openpyxl")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenFileError, match=rf"^{name}: "):
        read_specimens(tmp_path / name)


def test_importing_io_stays_light():
    import subprocess

    code = "import sys, xtalsk.io; print({'sklearn', 'joblib', 'rietx', 'rsciio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_cells_without_a_manifest():
    cell = FileCell(str(DATA / "xrd" / "powders" / "Zr" / "data.csv"), "powder", options={"wavelength": 1.54})
    assert cell.read().wavelength == 1.54
    assert pickle.loads(pickle.dumps(cell)).read().wavelength == 1.54
