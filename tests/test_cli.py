"""The command ``xtalsk`` on measured files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

import xtalsk
from xtalsk import (
    EDSComposition,
    RadialProfile,
    RingConditions,
    compute_reflections,
    load_amcsd,
    make_baseline,
    make_features,
    read_image,
    simulate_rings,
)
from xtalsk.cli import main
from xtalsk.cli._table import phases_text

DATA = Path(__file__).parent / "data"
TIN = str(DATA / "xrd" / "powders" / "Sn" / "data.csv")
SULFATE = str(DATA / "xrd" / "powders" / "PbSO4" / "data.csv")
SPECTRUM = str(DATA / "eds" / "k412" / "CaF2 std.msa")


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """File of a ring image of gold without its pixel size, and the pixel size."""
    crystals = load_amcsd()
    crystal = crystals[np.flatnonzero(crystals.formulas == "Au")[:1]]
    conditions = RingConditions(image_size=192, electrons=1e6)
    reflections = compute_reflections(crystal, "electron", 0.7)
    image = simulate_rings(reflections, [0], conditions, random_state=0)[0]
    path = tmp_path_factory.mktemp("images") / "gold.npy"
    np.save(path, image)
    return str(path), 2 * conditions.q_max / 192


def run(capsys, *arguments):
    code = main(["identify", "--quiet", *arguments])
    return code, capsys.readouterr()


def test_the_command_answers_and_lists_broken_files(tmp_path):
    report = tmp_path / "out.html"
    absent = str(tmp_path / "absent.xy")
    command = [sys.executable, "-m", "xtalsk.cli", "identify", TIN, absent, "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"data\.csv +141 I41/amd +0\.\d\d +tetragonal [01]\.\d\d +Tin \(Sn, I41/amd\) 0\.\d\d\n"
        r"  space group 141 I41/amd \(0\.\d\d\); not in the library with a probability of 0\.\d\d\n",
        done.stdout,
    )
    assert f"no answer for 1 of 2:\n  {absent}: no such file" in done.stdout
    assert re.search(r"\n  \S*data\.csv: neither .* copper Kα1, 1\.5406 Å, is assumed", done.stdout)
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    assert not re.search(r'(src|href)="(?!data:)', page)  # no other files
    assert "<p>space group 141 I41/amd (0." in page
    assert "no such file" in page


def test_json_formula_and_wavelength(capsys):
    code, printed = run(capsys, SULFATE, "--formula", "PbSO4", "--wavelength", "1.5406", "--json")
    assert code == 0
    (answer,) = json.loads(printed.out)
    assert answer["answered"]
    assert (answer["space_group"], answer["symbol"], answer["crystal_system"]) == (62, "Pnma", "orthorhombic")
    assert answer["phases"][0]["mineral"] == "Anglesite"
    assert answer["warnings"] == []
    assert (answer["level"], answer["label"], answer["open"]) == ("space_group", 62, "")
    assert 0 <= answer["not_in_library"] < 0.5
    assert answer["answer"].startswith("space group 62 Pnma (")
    _, other = run(capsys, SULFATE, "--formula", "PbSO4", "--wavelength", "1.9", "--json")
    assert json.loads(other.out)[0]["probability"] != answer["probability"]


def phase(formula, mineral, space_group, probability):
    return {"formula": formula, "mineral": mineral, "space_group": space_group, "probability": probability}


@pytest.mark.parametrize(
    ("phases", "text"),
    [
        (
            [phase("BaTiO3", "", 99, 0.5), phase("BaTiO3", "", 38, 0.3)],
            "BaTiO3 (P4mm) 0.50; BaTiO3 (Amm2) 0.30",
        ),
        (
            [phase("NiO", "Bunsenite", 225, 0.6), phase("NiO", "Bunsenite", 166, 0.2)],
            "Bunsenite (NiO, Fm-3m) 0.60",
        ),
        ([phase("Au", "Gold", 225, 0.9), phase("Al", "", 225, 0.04)], "Gold (Au, Fm-3m) 0.90"),
        ([phase("Al", "", 225, 0.04)], "none sure"),
        ([phase("Al", "", 225, None)], "Al (Fm-3m)"),
        ([], ""),
    ],
)
def test_phases_that_fit(phases, text):
    assert phases_text(phases) == text


def test_files_that_are_no_specimens(tmp_path, capsys):
    np.save(tmp_path / "scan.npy", np.ones((3, 4, 8, 8)))
    stack = str(tmp_path / "scan.npy")
    code, printed = run(capsys, stack, SPECTRUM, "--json")
    assert code == 1
    of_stack, of_spectrum = json.loads(printed.out)
    assert of_stack["reason"].startswith("scan.npy: expected one image, found a stack of 3 x 4 images")
    assert of_stack["reason"].endswith("xtalsk.map_structures identifies each image of a stack")
    assert f"--eds {SPECTRUM} gives the composition" in of_spectrum["reason"]
    assert (of_stack["model"], of_spectrum["model"]) == ("rings", "powder")


def test_warnings_of_files_without_answer_are_kept(tmp_path, capsys):
    two_theta = np.linspace(10, 80, 300)
    np.savetxt(tmp_path / "flat.xy", np.column_stack([two_theta, np.zeros(300)]))
    _, printed = run(capsys, str(tmp_path / "flat.xy"), "--json")
    (answer,) = json.loads(printed.out)
    assert not answer["answered"]
    assert any("1.5406 Å, is assumed" in text for text in answer["warnings"])
    _, printed = run(capsys, str(tmp_path / "flat.xy"))
    assert printed.out.count("flat.xy") == 1


def test_images_are_read_by_the_model_of_rings(gold, capsys):
    path, pixel_size = gold
    code, printed = run(capsys, path, "--pixel-size", str(pixel_size), "--formula", "Au", "--json")
    assert code == 0
    assert json.loads(printed.out)[0]["space_group"] == 225
    code, printed = run(capsys, path, "--json")
    assert code == 1
    assert "--pixel-size" in json.loads(printed.out)[0]["reason"]


def test_patterns_of_one_crystal_are_one_specimen(gold, capsys):
    path, pixel_size = gold
    arguments = ["--model", "spots", "--one-crystal", "--pixel-size", str(pixel_size), "--json"]
    _, printed = run(capsys, path, path, *arguments)
    (answer,) = json.loads(printed.out)
    assert answer["files"] == [path, path]


def test_the_elements_of_a_spectrum_are_the_composition(capsys):
    code, printed = run(capsys, TIN, "--eds", SPECTRUM, "--json")
    assert code == 0
    assert json.loads(printed.out)[0]["phases"][0]["mineral"] != "Tin"  # a spectrum of another specimen


def test_own_models(tmp_path, capsys):
    xtalsk.save(xtalsk.load_pretrained("powder"), tmp_path / "own")
    code, printed = run(capsys, TIN, "--model", str(tmp_path / "own"), "--n-phases", "0")
    assert code == 0
    assert "141 I41/amd" in printed.out
    assert "Tin" not in printed.out
    xtalsk.save(xtalsk.make_baseline("prior").fit([[0.0], [1.0]], [1, 2]), tmp_path / "prior")
    with pytest.raises(SystemExit):
        run(capsys, TIN, "--model", str(tmp_path / "prior"))
    assert "holds a DummyClassifier, not a pipeline" in capsys.readouterr().err


def test_own_models_of_several_modalities(gold, tmp_path, capsys):
    X = pd.DataFrame({"eds": [None] * 4, "rings": [read_image(gold[0], pixel_size=gold[1])] * 4})
    features = make_features(bins=("rings", RadialProfile()), elements=("eds", EDSComposition()))
    for name, y in ("groups", [225, 225, 14, 14]), ("words", ["a", "a", "b", "b"]):
        xtalsk.save(
            make_pipeline(features, make_baseline("hist_gradient_boosting")).fit(X, y), tmp_path / name
        )
    arguments = [gold[0], "--pixel-size", str(gold[1]), "--model", str(tmp_path / "groups")]
    assert run(capsys, *arguments)[0] == 0
    for wrong, message in (["--formula", "Au"], "takes no composition"), ([], "does not name space groups"):
        arguments[-1] = str(tmp_path / ("groups" if wrong else "words"))
        with pytest.raises(SystemExit):
            run(capsys, *arguments, *wrong)
        assert message in capsys.readouterr().err


def test_a_damaged_archive_has_no_answer(tmp_path, capsys):
    (tmp_path / "scan.npz").write_bytes(b"PK\x03\x04")
    code, printed = run(capsys, str(tmp_path / "scan.npz"))
    assert code == 1
    assert "no answer for 1 of 1" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: FILE"),
        ([TIN, "--formula", "PbXO4"], "--formula: "),
        ([TIN, "--eds", "absent.msa"], "--eds: .*no such file"),
        ([TIN, "--eds", SPECTRUM, "--formula", "Sn"], "not allowed with"),
        (
            [TIN, "--model", "nothing"],
            r"--model: unknown pretrained pipeline 'nothing'; known are \['powder'",
        ),
        ([TIN, "--model", "rings"], "the model rings reads rings; got 1 of kind powder"),
        ([TIN, "--one-crystal"], "--one-crystal needs --model spots"),
        ([TIN, "--wavelength", "-1"], "must be positive"),
        ([TIN, "--pixel-size", "small"], "invalid"),
        ([TIN, "--report", "no/such/folder/out.html"], "--report: no such folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(["identify", "--quiet", *arguments])
    assert error.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as error:
        main(["identify", "--help"])
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert "xtalsk identify scan.xy ring.dm4 --formula CaCO3 --report out.html" in text
    assert "exit codes" in text
