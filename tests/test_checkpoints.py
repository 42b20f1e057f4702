"""Checkpoints of a training: damage, other trainings, full disks and kills."""

import pickle
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rv_histogram, uniform

import xtalsk
from xtalsk import (
    ElementFractions,
    FusionClassifier,
    PowderConditions,
    PowderProfile,
    SpecimenStream,
    load_amcsd,
    make_features,
)
from xtalsk.neural import _augment, learn_chunk
from xtalsk.simulation.powder import _simulate
from xtalsk.streaming import CheckpointError, fit_stream, read_checkpoint

N_SPECIMENS = 32 * 6


def make_stream(crystals, features=None, **options):
    features = features or make_features(fractions=("formula", ElementFractions()))
    return SpecimenStream(crystals, features, **{"chunk_size": 32, "random_state": 0} | options)


def make_model(**options):
    sizes = {"hidden_size": 8, "embedding_size": 4, "n_filters": 2, "batch_size": 16}
    options = {"weight_averaging": 0.9, "device": "cpu", "random_state": 0} | sizes | options
    return FusionClassifier(hierarchy="space_group", **options)


class Stopped(Exception):
    pass


def stop_at(chunk):
    def stop(model, n_rendered):
        if n_rendered == 32 * chunk:
            raise Stopped

    return stop


def stopped(model, stream, file, chunk=3):
    with pytest.raises(Stopped):
        fit_stream(model, stream, N_SPECIMENS, checkpoint=file, checkpoint_every=1, callback=stop_at(chunk))


def assert_identical(model, other):
    """Weights, averages, state of the optimiser and curves are equal bit for bit."""
    assert model.loss_curve_ == other.loss_curve_
    assert (model.n_iter_, model.net_.n_steps_, model.net_.seed) == (
        other.n_iter_,
        other.net_.n_steps_,
        other.net_.seed,
    )
    for part in ("module_", "average_"):
        states = [getattr(m.net_, part).state_dict() for m in (model, other)]
        assert states[0].keys() == states[1].keys()
        assert all(map(torch.equal, states[0].values(), states[1].values()))
    states = [m.net_.optimizer_.state_dict() for m in (model, other)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys() != set()
    for i, state in states[0]["state"].items():
        assert state.keys() == states[1]["state"][i].keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(value, states[1]["state"][i][name]) for name, value in state.items())


@pytest.fixture(scope="module")
def crystals():
    return load_amcsd()[:12]


@pytest.fixture(scope="module")
def stream(crystals):
    return make_stream(crystals)


@pytest.fixture(scope="module")
def whole(stream):
    return fit_stream(make_model(), stream, N_SPECIMENS)


@pytest.fixture(scope="module")
def checkpoint(stream, tmp_path_factory):
    file = tmp_path_factory.mktemp("training") / "state"
    stopped(make_model(), stream, file)
    return file.read_bytes()


def test_a_resumed_model_is_identical_in_all_its_state(stream, whole, tmp_path):
    file = tmp_path / "state"
    for chunk in (1, 3, 5):
        stopped(make_model(), stream, file, chunk)
    resumed = fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file)
    finished = fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file)
    X, y = stream.chunk(50)
    for model in (resumed, finished):
        assert_identical(model, whole)
        assert model.get_params() == whole.get_params()
        learn_chunk(model, X, y, 1e-3)
    assert_identical(resumed, finished)


def test_progress_of_a_checkpoint(checkpoint, tmp_path):
    file = tmp_path / "state"
    file.write_bytes(checkpoint)
    progress = read_checkpoint(file)
    assert (progress["done"], progress["n_chunks"], progress["chunk_size"]) == (3, 6, 32)
    assert len(progress["loss_curve"]) == 3
    assert progress["seconds"] > 0
    assert progress["versions"]["xtalsk"] == xtalsk.__version__


def refused(content, stream, file, reason=""):
    """Whether both readers refuse a checkpoint with this content and leave it as it is."""
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"state cannot be used as a checkpoint: .*{reason}.*delete it"):
        fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file)
    with pytest.raises(CheckpointError, match=f"state cannot be used as a checkpoint: .*{reason}"):
        read_checkpoint(file)
    return file.read_bytes() == content


def test_single_flipped_bits_are_refused(checkpoint, stream, tmp_path):
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(checkpoint), 60, replace=False):
        damaged = bytearray(checkpoint)
        damaged[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(damaged), stream, tmp_path / "state")


def test_truncated_and_extended_files_are_refused(checkpoint, stream, tmp_path):
    lengths = [
        *range(0, 70),
        *np.random.default_rng(0).integers(70, len(checkpoint), 40),
        len(checkpoint) - 1,
    ]
    for length in lengths:
        assert refused(checkpoint[:length], stream, tmp_path / "state", "incomplete")
    assert refused(checkpoint + b"\0", stream, tmp_path / "state", "checksum")
    assert refused(checkpoint + checkpoint, stream, tmp_path / "state", "checksum")


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_is_refused_and_does_not_run(checkpoint, stream, tmp_path):
    target = tmp_path / "executed"
    content = pickle.dumps({"plan": {}, "done": 1, "trained": Payload(target), "seconds": 0.0})
    assert refused(content, stream, tmp_path / "state", "another format")
    for start in (len(checkpoint) // 2, 60, 14):  # inside a checkpoint too
        assert refused(checkpoint[:start] + content, stream, tmp_path / "state")
    assert not target.exists()
    pickle.loads(content)
    assert target.exists()  # the payload was live


def test_a_folder_is_refused(stream, tmp_path):
    for file, reason in ((tmp_path, "not a regular file"), (tmp_path / "absent" / "state", "does not exist")):
        with pytest.raises(CheckpointError, match=reason):
            fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file)


def test_a_training_from_trained_weights_resumes_and_knows_its_start(stream, whole, checkpoint, tmp_path):
    file = tmp_path / "state"
    straight = fit_stream(make_model(), stream, N_SPECIMENS, start=whole)
    with pytest.raises(Stopped):
        fit_stream(
            make_model(),
            stream,
            N_SPECIMENS,
            start=whole,
            checkpoint=file,
            checkpoint_every=1,
            callback=stop_at(3),
        )
    assert_identical(fit_stream(make_model(), stream, N_SPECIMENS, start=whole, checkpoint=file), straight)
    assert straight.loss_curve_[0] < whole.loss_curve_[0]
    for content, start in ((file.read_bytes(), None), (checkpoint, whole)):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="first weights"):
            fit_stream(make_model(), stream, N_SPECIMENS, start=start, checkpoint=file)


@pytest.mark.parametrize("start", [make_model(), "powder"])
def test_a_start_that_is_no_trained_network_raises(stream, start):
    with pytest.raises(ValueError, match="start must be a fitted FusionClassifier"):
        fit_stream(make_model(), stream, N_SPECIMENS, start=start)


def other_trainings(crystals):
    """Yield streams with other crystals of the same ids, or other settings, and what must be named."""
    heavier = replace(crystals, atomic_numbers=crystals.atomic_numbers + 1)
    moved = replace(crystals, frac_coords=crystals.frac_coords + 1e-6)
    stiff = replace(crystals, u_iso=np.full_like(crystals.u_iso, 1e-3))
    larger = replace(crystals, lattices=crystals.lattices * 1.001)
    for other in (heavier, moved, stiff, larger):
        np.testing.assert_array_equal(other.ids, crystals.ids)
        yield make_stream(other), r"stream differ \(stream: crystals\)"
    yield make_stream(crystals, random_state=1), r"stream differ \(stream: random_state\)"
    yield make_stream(crystals, conditions={"formula": "microscope"}), "stream: formula_conditions"
    weights = np.ones(len(crystals))
    weights[0] = 2
    yield make_stream(crystals, weights=weights), "stream: weights"


def test_other_crystals_and_settings_are_refused(crystals, checkpoint, tmp_path):
    file = tmp_path / "state"
    file.write_bytes(checkpoint)
    for other, reason in other_trainings(crystals):
        with pytest.raises(CheckpointError, match=f"state is the checkpoint of another training: .*{reason}"):
            fit_stream(make_model(), other, N_SPECIMENS, checkpoint=file)
    for model, stream, n, reason in (
        (make_model(learning_rate=1e-4), make_stream(crystals), N_SPECIMENS, "model: learning_rate"),
        (make_model(), make_stream(crystals), 2 * N_SPECIMENS, "n_chunks: 6 in the checkpoint, 12 now"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            fit_stream(model, stream, n, checkpoint=file)


def test_equal_crystals_from_another_set_are_accepted(crystals, whole, checkpoint, tmp_path):
    file = tmp_path / "state"
    file.write_bytes(checkpoint)
    order = np.arange(len(crystals.rotation_sets))[::-1]
    same = replace(
        crystals,
        rotation_sets=[crystals.rotation_sets[i] for i in order],
        rotation_index=np.argsort(order)[crystals.rotation_index],
    )
    assert_identical(fit_stream(make_model(), make_stream(same), N_SPECIMENS, checkpoint=file), whole)


@pytest.mark.parametrize(
    ("owner", "name", "value", "reason"),
    [
        (
            xtalsk,
            "__version__",
            "99.0",
            "versions differ .*xtalsk .* in the checkpoint, 99.0 now.*Install the",
        ),
        (_simulate, "BASELINE_DEPTH", 0.123, "code differ .*Use the code"),
        (_augment, "ENERGY_STRETCH", 0.123, "code differ .*Use the code"),
    ],
)
def test_other_versions_and_constants_are_refused(
    stream, checkpoint, tmp_path, monkeypatch, owner, name, value, reason
):
    file = tmp_path / "state"
    file.write_bytes(checkpoint)
    assert getattr(owner, name) != value
    monkeypatch.setattr(owner, name, value)
    with pytest.raises(CheckpointError, match=reason):
        fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file)


def test_a_failed_write_leaves_the_old_checkpoint(stream, whole, tmp_path):
    """The operating system refuses the second half of the file, as on a full disk."""
    file = tmp_path / "state"
    stopped(make_model(), stream, file, 2)
    old = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"the checkpoint was not written.*state'"):
            fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file, checkpoint_every=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == old
    assert list(tmp_path.iterdir()) == [file]
    assert_identical(fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file), whole)


def test_one_extra_copy_is_written(stream, tmp_path, monkeypatch):
    """During a write there are the old file and one new file, and links are followed."""
    from xtalsk.utils import _container

    sizes, fsync = [], _container.os.fsync
    folder, link = tmp_path / "disk", tmp_path / "state"
    folder.mkdir()
    link.symlink_to(folder / "state")

    def measured_fsync(handle):
        sizes.append([path.stat().st_size for path in folder.iterdir()])
        fsync(handle)

    monkeypatch.setattr(_container.os, "fsync", measured_fsync)
    fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=link, checkpoint_every=2)
    assert [len(s) for s in sizes] == [1, 2, 2]
    assert link.is_symlink()
    assert [path.name for path in folder.iterdir()] == ["state"]


def test_leftovers_are_removed_and_other_files_stay(stream, tmp_path):
    leftover = tmp_path / "state.0123456789ab.part"
    others = [
        tmp_path / name for name in ("state.part", "other.0123456789ab.part", "state2.0123456789ab.part")
    ]
    for path in (leftover, *others):
        path.write_bytes(b"incomplete")
    fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=tmp_path / "state")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "state", *others])


KILLS = """
import os, random, signal, sys, time
import torch

torch.set_num_threads(1)
from tests_of_checkpoints import make_model, make_stream, assert_identical
from xtalsk import load_amcsd
from xtalsk.streaming import fit_stream, read_checkpoint
from xtalsk.utils import _container

N = 32 * 40
folder, rng = sys.argv[1], random.Random(int(sys.argv[2]))
file = folder + "/state"
stream, model = make_stream(load_amcsd()[:12]), make_model()
whole = fit_stream(model, stream, N, checkpoint=folder + "/whole", checkpoint_every=1)
fsync, replace = os.fsync, os.replace


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def torn(handle):
    os.ftruncate(handle, rng.randrange(os.fstat(handle).st_size))
    die()


def after(*arguments):
    replace(*arguments)
    die()


def attempt(patches=(), seconds=None):
    child = os.fork()
    if not child:
        for name, function in patches:
            setattr(_container.os, name, function)
        fit_stream(model, stream, N, checkpoint=file, checkpoint_every=1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def done():
    return read_checkpoint(file)["done"] if os.path.exists(file) else 0


killed = 0
for patch, progress in ((("fsync", torn), 0), (("replace", die), 0), (("replace", after), 1)):
    before = done()
    assert attempt([patch]) == signal.SIGKILL
    assert done() == before + progress, (patch, before, done())
    assert sum(name.startswith("state.") for name in os.listdir(folder)) == 1 - progress
    killed += 1
slow = ("fsync", lambda handle: (time.sleep(0.05), fsync(handle)))  # more kills hit a write
seconds = 0.4
while done() < 40:
    before = done()
    killed += attempt([slow], rng.uniform(0.1 * seconds, seconds)) == signal.SIGKILL
    assert done() >= before
    seconds *= 1.1  # in the end an attempt is long enough
assert sorted(os.listdir(folder)) == ["state", "whole"]
assert_identical(fit_stream(model, stream, N, checkpoint=file), whole)
print(killed)
"""


def run(script, folder, *arguments):
    """Return what a script prints in another process, which can import the functions of this file."""
    (folder / "code").mkdir()
    (folder / "code" / "tests_of_checkpoints.py").write_text(Path(__file__).read_text())
    script = f"import sys; sys.path.insert(0, {str(folder / 'code')!r})\n{script}"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_kills_never_change_the_model(tmp_path):
    """Kills within a write, after it, in training and in resuming, with `kill -9`."""
    (tmp_path / "run").mkdir()
    assert int(run(KILLS, tmp_path, tmp_path / "run", 0)) >= 6


RESUME = """
from tests_of_checkpoints import make_model, make_stream, N_SPECIMENS
from xtalsk import load_amcsd
from xtalsk.streaming import fit_stream

model = fit_stream(make_model(), make_stream(load_amcsd()[:12]), N_SPECIMENS, checkpoint=sys.argv[1])
"""


def test_another_process_resumes(checkpoint, stream, whole, tmp_path):
    file = tmp_path / "state"
    file.write_bytes(checkpoint)
    run(RESUME, tmp_path, file)
    assert read_checkpoint(file)["done"] == 6
    assert_identical(fit_stream(make_model(), stream, N_SPECIMENS, checkpoint=file), whole)


def test_conditions_that_look_alike_are_told_apart(crystals):
    """Histograms have no arguments, and the text of a number has six digits."""
    profile = make_features(profile=("powder", PowderProfile(n_bins=64, q_range=(0.1, 0.6))))

    def fingerprint(peak_counts):
        conditions = PowderConditions(two_theta=(15, 60, 0.1), peak_counts=peak_counts)
        return make_stream(crystals, profile, conditions={"powder": conditions}).fingerprint_

    edges = [100.0, 200.0, 300.0]
    pairs = [
        (rv_histogram(([1, 3], edges)), rv_histogram(([3, 1], edges))),
        (uniform(100, 100), uniform(100, 100.00001)),
    ]
    for (one, other), again in zip(pairs, (rv_histogram(([1, 3], edges)), uniform(100, 100)), strict=True):
        assert fingerprint(one) == fingerprint(again) != fingerprint(other)
