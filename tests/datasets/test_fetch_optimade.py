"""`fetch_optimade` with the server of the package optimade on this machine, and with a poor connection."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from _optimade_server import Server, entry_of, write_database

pytest.importorskip("optimade.client")
pytest.importorskip("uvicorn")

from xtalsk.crystals import BrokenEntryWarning
from xtalsk.datasets import DownloadError, fetch_optimade, get_data_home, load_amcsd
from xtalsk.datasets._optimade_entries import crystal_of_entry
from xtalsk.datasets._page_store import PageStore

CRYSTALS = load_amcsd()[::150]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "entries.jsonl"
    entries = [entry_of(CRYSTALS, i) for i in range(len(CRYSTALS))]
    entries[3]["attributes"]["cartesian_site_positions"] = entries[3]["attributes"][
        "cartesian_site_positions"
    ][1:]
    write_database(path, entries)
    return path


@pytest.fixture(scope="module")
def quiet(database):
    server = Server(database, 0)
    yield server
    server.stop()


def fetch(server, folder, **options):
    options = {"max_wait": 0.05, "max_attempts": 30, "timeout": 5.0} | options
    return fetch_optimade(server.url, data_home=folder, **options)


def test_a_whole_database_arrives_and_broken_entries_are_named(quiet, tmp_path):
    with pytest.warns(BrokenEntryWarning, match="1 of 62 entries were left out") as record:
        answer = fetch(quiet, tmp_path)
    (warning,) = [w.message for w in record if isinstance(w.message, BrokenEntryWarning)]
    assert list(warning.errors) == [f"test-{CRYSTALS.ids[3]}"]
    assert "cartesian_site_positions" in answer.broken["reason"][0]
    expected = CRYSTALS[np.delete(np.arange(len(CRYSTALS)), 3)]
    expected = expected[np.argsort([f"test-{i}" for i in expected.ids])]
    found = answer.crystals[np.argsort(answer.crystals.ids.astype(str))]
    assert found.ids.tolist() == [f"test-{i}" for i in expected.ids]
    np.testing.assert_allclose(found.volumes, expected.volumes, rtol=1e-6)
    assert np.mean(found.space_groups == expected.space_groups) > 0.9  # U and small deviations differ
    assert answer.provenance["id"].tolist() == answer.crystals.ids.tolist()
    assert answer.database["url"] == quiet.url
    assert answer.database["license"] == "not stated"


def same(answer, other):
    assert answer.crystals.ids.tolist() == other.crystals.ids.tolist()
    np.testing.assert_array_equal(answer.crystals.frac_coords, other.crystals.frac_coords)
    assert answer.provenance.drop(columns="database").equals(other.provenance.drop(columns="database"))
    assert answer.broken.equals(other.broken)


@pytest.fixture(scope="module")
def undisturbed(quiet, tmp_path_factory):
    with pytest.warns(BrokenEntryWarning):
        return fetch(quiet, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.filterwarnings("ignore::xtalsk.crystals.BrokenEntryWarning")
def test_lost_late_cut_and_refused_answers_change_nothing(database, undisturbed, tmp_path):
    server = Server(database, 0.6)
    try:
        same(fetch(server, tmp_path), undisturbed)
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore::xtalsk.crystals.BrokenEntryWarning")
def test_a_download_that_stopped_goes_on_and_a_finished_one_needs_no_server(database, undisturbed, tmp_path):
    server = Server(database, 0)
    real, calls = PageStore.add, []

    def stop_after_two(store, *args, **more):
        if len(calls) == 1:  # killed between the page and the state that counts it
            store._page(store.state["n_pages"]).write_bytes(b"half a page")
            raise KeyboardInterrupt
        calls.append(1)
        real(store, *args, **more)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PageStore, "add", stop_after_two)
            with pytest.raises(KeyboardInterrupt):
                fetch(server, tmp_path)
        with pytest.raises(OSError, match="download_if_missing"):
            fetch(server, tmp_path, download_if_missing=False)
        same(fetch(server, tmp_path), undisturbed)
    finally:
        server.stop()
    same(fetch(server, tmp_path, download_if_missing=False), undisturbed)
    with pytest.raises(DownloadError, match="0 entries are stored; the same call continues"):
        fetch(server, tmp_path, refresh=True, max_attempts=2)


def test_filter_limit_and_fields(quiet, tmp_path):
    answer = fetch(quiet, tmp_path, filter='elements HAS "Cu"', n_max=3, extra_fields=("nsites",))
    assert len(answer.crystals) == 3
    assert all("Cu" in formula for formula in answer.crystals.formulas)
    np.testing.assert_array_equal(
        answer.provenance["nsites"], np.bincount(answer.crystals.crystal_of_site, minlength=3)
    )
    named = fetch(quiet, tmp_path, filter='elements HAS "Cu"', name_field="chemical_formula_reduced", n_max=2)
    assert named.crystals.names.tolist() == named.provenance["chemical_formula_reduced"].tolist()


def test_the_size_of_pages(quiet, tmp_path):
    answer = fetch(quiet, tmp_path, filter='elements HAS "Cu"', n_max=3, page_size=2)
    assert len(list(answer.folder.glob("page_*"))) == 2
    assert len(answer.crystals) == 3
    with pytest.raises(ValueError, match="Max allowed page_limit is 500"):
        fetch(quiet, tmp_path, filter="nelements = 2", page_size=501)


def test_wrong_questions_are_told(quiet, tmp_path):
    with pytest.raises(ValueError, match="not in the OPTIMADE language: 'elements HAS'"):
        fetch(quiet, tmp_path, filter="elements HAS")
    with pytest.raises(ValueError, match="none of 0 entries can be used"):
        fetch(quiet, tmp_path, filter='elements HAS "Tc"')
    with pytest.raises(ValueError, match="n_max"):
        fetch(quiet, tmp_path, n_max=0)
    with pytest.raises(ValueError, match="404"):
        fetch_optimade(f"{quiet.url}/nothing", data_home=tmp_path, max_wait=0.01)


def test_a_provider_by_name(quiet, tmp_path, monkeypatch):
    import optimade.utils

    def databases(include_providers, session):
        return {"one": [quiet.url], "two": [quiet.url, "http://other"]}.get(*include_providers, [])

    monkeypatch.setattr(optimade.utils, "get_all_databases", databases)
    answer = fetch_optimade("one", 'elements HAS "Cu"', n_max=1, data_home=tmp_path)
    assert len(answer.crystals) == 1
    assert answer.folder.parent.parent == tmp_path
    with pytest.raises(ValueError, match=r"several databases.*http://other"):
        fetch_optimade("two", data_home=tmp_path)
    with pytest.raises(ValueError, match="no database of a provider 'three'"):
        fetch_optimade("three", data_home=tmp_path)


def test_a_damaged_page_is_named(quiet, tmp_path):
    folder = fetch(quiet, tmp_path, filter='elements HAS "Cu"', n_max=3).folder
    (page,) = folder.glob("page_*")
    page.write_bytes(page.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{page.name} is damaged.*refresh=True"):
        fetch(quiet, tmp_path, filter='elements HAS "Cu"', n_max=3, symprec=0.02)
    shutil.rmtree(folder)


def test_pages_that_overlap_give_each_entry_once(tmp_path):
    store = PageStore(tmp_path, {})
    entries = [entry_of(CRYSTALS, i) for i in range(4)]
    store.add(entries[:3], "next")
    store.add(entries[2:], None, database={"url": "here", "license": "none"})
    from xtalsk.datasets._fetched import _read

    stored = PageStore(tmp_path, {})
    crystals, provenance, broken = _read(stored, crystal_of_entry, 0.01, (), None, 0)
    assert crystals.ids.tolist() == [e["id"] for e in entries] == provenance["id"].tolist()
    assert len(broken) == 0
    with pytest.raises(ValueError, match="another query"):
        PageStore(tmp_path, {"filter": "else"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lattice_vectors": None}, "lacks lattice_vectors"),
        ({"lattice_vectors": [[1, 0, 0], [0, 1, 0]]}, "lattice_vectors must be finite numbers of shape"),
        ({"lattice_vectors": "abc"}, "not numbers"),
        ({"nperiodic_dimensions": 2}, "periodic in 2 dimensions"),
        ({"structure_features": ["implicit_atoms"]}, "implicit_atoms"),
        ({"species_at_sites": ["Zz"]}, "shape"),
        ({"species": [{"name": "a", "chemical_symbols": ["X"], "concentration": [1]}]}, "unknown"),
        ({"species": [{"name": "a", "chemical_symbols": ["Qq"], "concentration": [1]}]}, "no element"),
        (
            {"species": [{"name": "a", "chemical_symbols": ["Cu"], "concentration": []}]},
            "1 symbols, 0 shares",
        ),
    ],
)
def test_entries_that_are_no_crystals_say_why(change, message):
    attributes = entry_of(CRYSTALS, 0)["attributes"] | change
    with pytest.raises(ValueError, match=message):
        crystal_of_entry(attributes, 0.01)


def test_an_entry_of_the_adapter_of_optimade_is_the_structure_it_was_made_of():
    from optimade.adapters.structures.pymatgen import from_pymatgen
    from pymatgen.core import Lattice, Structure

    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    part = crystal_of_entry(from_pymatgen(rutile).model_dump(), 0.01)
    np.testing.assert_allclose(part["frac_coords"], rutile.frac_coords, atol=1e-9)
    assert part["space_group"] == 136
    assert part["formula"] == "TiO2"
    assert part["atomic_numbers"].tolist() == [site.specie.Z for site in rutile]


def test_a_left_handed_cell_keeps_the_handedness_of_the_crystal():
    from pymatgen.core import Lattice, Structure

    from xtalsk.crystals import CrystalSet

    screw = Structure.from_spacegroup(
        "P4_1", Lattice.tetragonal(5, 7), ["O", "Ti"], [[0.1, 0.25, 0], [0.4, 0.3, 0.2]]
    )
    matrix = screw.lattice.matrix[[1, 0, 2]]
    mirrored = Structure(matrix, screw.species, screw.frac_coords[:, [1, 0, 2]])
    attributes = {
        "lattice_vectors": matrix.tolist(),
        "cartesian_site_positions": mirrored.cart_coords.tolist(),
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in ("O", "Ti")],
        "species_at_sites": [site.specie.symbol for site in mirrored],
    }
    assert crystal_of_entry(attributes, 0.01)["space_group"] == 76
    assert CrystalSet.from_pymatgen([screw, mirrored]).space_groups.tolist() == [76, 76]


def test_data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XTALSK_DATA", str(tmp_path / "here"))
    assert get_data_home() == tmp_path / "here"
    assert get_data_home().is_dir()
    assert get_data_home(tmp_path / "there").is_dir()
