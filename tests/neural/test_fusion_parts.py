"""The parts of the network: blocks, batches, augmentation, loss, random numbers, devices."""

import numpy as np
import pytest
import torch

from xtalsk._levels import sum_to_level
from xtalsk.columns import find_blocks
from xtalsk.neural import FusionClassifier, schedule_factor
from xtalsk.neural._augment import ProfileAugment, check_augment
from xtalsk.neural._batches import Batches, Rows, split_validation
from xtalsk.neural._blocks import branch_of, measure_block
from xtalsk.neural._branches import scale_rows, standardise_rows
from xtalsk.neural._disturbances import stretch
from xtalsk.neural._loss import LevelsLoss, check_hierarchy_weights, level_index
from xtalsk.neural._mixing import choose_kept, dropout_events
from xtalsk.neural._random import own_generator, own_random_numbers, rand, seed_generators
from xtalsk.utils import check_device


def test_kinds_of_blocks_follow_from_names():
    names = [f"a__q_{i:04}" for i in range(40)] + [f"b__q_{i:04}" for i in range(31)]
    names += [f"c__pixel_{r:03}_{c:03}" for r in range(8) for c in range(9)]
    names += ["d__x", "d__y__z", "bare", "e__pixel_000_000", "e__pixel_000_001"]
    blocks = {block.name: block for block in find_blocks(names, len(names))}
    kinds = {name: branch_of(block) for name, block in blocks.items()}
    assert kinds == {
        "a": "conv1d", "b": "dense", "c": "conv2d", "d": "dense", "features": "dense", "e": "dense"
    }  # fmt: skip
    assert blocks["c"].shape == (8, 9)
    assert [names[i] for i in blocks["d"].columns] == ["d__x", "d__y__z"]


def test_columns_are_put_in_order_of_the_axis():
    names = [f"p__d_{i:04}" for i in reversed(range(32))]
    (block,) = find_blocks(names, 32)
    assert branch_of(block) == "conv1d"
    assert block.columns.tolist() == list(reversed(range(32)))
    names = [f"p__pixel_{r:03}_{c:03}" for c in range(8) for r in range(10)]
    (block,) = find_blocks(names, 80)
    assert [names[i] for i in block.columns[:9]][::8] == ["p__pixel_000_000", "p__pixel_001_000"]


def test_matrix_without_names_is_one_block():
    (block,) = find_blocks(None, 50)
    assert (block.name, branch_of(block), len(block.columns)) == ("features", "dense", 50)


def test_statistics_ignore_gaps_and_missing_rows():
    X = np.array([[1, 5, np.nan], [3, np.nan, np.nan], [np.nan] * 3, [5, 5, np.nan]], dtype=np.float32)
    block = measure_block(find_blocks(None, 3)[0], X)
    np.testing.assert_allclose(block.mean, [3, 5, 0])
    np.testing.assert_allclose(block.scale, [np.std([1, 3, 5]), 1, np.inf])
    assert block.gaps.tolist() == [1, 2]


def test_batches_cover_each_row_once():
    rows = Rows(np.arange(10, dtype=np.float32)[:, None], np.arange(10), index=np.arange(1, 10))
    torch.manual_seed(0)
    seen = [[x.flatten().tolist(), t.tolist(), len(w)] for x, (t, w) in Batches(rows, 4, shuffle=True)]
    assert [n for *_, n in seen] == [4, 4, 1]
    values = [v for x, *_ in seen for v in x]
    assert sorted(values) == list(range(1, 10)) != values
    assert all(x == t for x, t, _ in seen)


@pytest.mark.parametrize("seed", range(5))
def test_validation_split_is_stratified_and_keeps_groups_apart(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 300, 1500)
    y = (rng.permutation(300) % 10)[groups]
    train, valid = split_validation(y, groups, 0.2, np.random.RandomState(seed))
    assert sorted([*train, *valid]) == list(range(1500))
    assert not set(groups[train]) & set(groups[valid])
    share = np.array([(y[valid] == c).sum() / (y == c).sum() for c in range(10)])
    assert 0.15 < share.mean() < 0.25
    assert share.min() > 0.05


def test_validation_split_leaves_rare_classes_in_training():
    y = np.r_[np.repeat([0, 1], 50), 2, 3, 3, 3]
    groups = np.r_[np.arange(100), 100, 101, 101, 101]
    for seed in range(20):
        train, valid = split_validation(y, groups, 0.5, np.random.RandomState(seed))
        assert {2, 3} <= set(y[train])
        assert {0, 1} == set(y[valid])
    with pytest.raises(ValueError, match="needs rows for validation"):
        split_validation(np.arange(3), None, 0.1, np.random.RandomState(0))


def test_modality_dropout_keeps_one_block_of_each_row():
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True], [False, True, False], [True, False, True]]).repeat(2000, 1)
    kept = choose_kept(present, 0.5)
    assert not (kept & ~present).any()
    assert kept.any(1).all()
    assert kept[1::3, 1].all()
    # of three: 1/2, and a third of the 1/8 that would keep nothing
    torch.testing.assert_close(kept[::3].float().mean(0), torch.full((3,), 0.5 + 1 / 24), atol=0.04, rtol=0)
    assert torch.equal(choose_kept(present, 0.0), present)


def test_blocks_of_a_modality_are_dropped_together():
    torch.manual_seed(0)
    blocks = ["profile", "lattice", "fractions", "spots"]
    value = {("profile", "lattice"): 0.3, "fractions": 0.6, "lattice": 0.1}
    probability, members = dropout_events(value, blocks)
    # lattice alone, fractions alone, spots never, both together
    np.testing.assert_allclose(probability[0], [0.1, 0.6, 0, 0.3])
    assert members.astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    present = torch.ones(20000, 4, dtype=torch.bool)
    present[:, 3] = False
    present[1::2, 2] = False
    kept = choose_kept(present, torch.as_tensor(probability[0]), torch.as_tensor(members))
    assert not (kept & ~present).any()
    assert kept.any(1).all()
    of_all = kept[::2]
    both, chemistry = of_all[:, 0] & of_all[:, 1], of_all[:, 2]
    assert (both & chemistry).float().mean() == pytest.approx(0.7 * 0.9 * 0.4, abs=0.015)
    assert (~of_all[:, 0] & ~of_all[:, 1]).float().mean() == pytest.approx(0.3 * 0.4 + 0.18 / 3, abs=0.015)
    # of a modality that is the only one, the tuple is kept whole or one of its blocks
    assert kept[1::2, :2].any(1).all()
    assert kept[1::2, 0].float().mean() == pytest.approx(0.7 + 0.3 / 2, abs=0.015)


def test_augmentation_amounts():
    torch.manual_seed(0)
    q = torch.arange(200.0)
    x = (100 * torch.exp(-0.5 * ((q - 100) / 4) ** 2)).repeat(2000, 1)
    measured = torch.ones_like(x, dtype=torch.bool)
    spread = x.std(1, unbiased=False)[0]

    def run(**amounts):
        return ProfileAugment(**check_augment(amounts)).train()(x, measured)[0]

    noise = (run(noise=0.1) - x) / spread
    assert noise.abs().mean(1).max() < 0.1
    assert noise.square().mean().sqrt() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    background = (run(background=0.3) - x) / spread
    assert background.min() >= 0
    assert background.max() == pytest.approx(0.3, rel=0.01)
    places = run(stretch=0.02).argmax(1)
    assert (places.min(), places.max()) == (98, 102)
    jitter = torch.log(run(jitter=0.3)[:, 90:110] / x[:, 90:110])
    assert jitter.mean() == pytest.approx(0, abs=0.02)
    assert 0.2 < jitter.std() < 0.3
    augment = ProfileAugment(**check_augment(1.0)).eval()
    assert torch.equal(augment(x, measured)[0], x)


def test_stretch_moves_the_mask_along():
    x = torch.arange(10.0)[None]
    measured = torch.ones(1, 10, dtype=torch.bool)
    measured[0, 4] = False
    y, kept = stretch(torch.where(measured, x, 0.0), measured, torch.tensor([[1.0]]))
    assert torch.equal(kept, measured)
    assert torch.equal(y, torch.where(measured, x, 0.0))
    y, kept = stretch(x, torch.ones_like(measured), torch.tensor([[1.5]]))
    assert kept[0].tolist() == [True] * 7 + [False] * 3  # bin 6, from 6 to 7, reads 9 to 10.5
    torch.testing.assert_close(y[0, :6], 1.5 * (x[0, :6] + 0.5) - 0.5)


def test_stretch_keeps_the_ratios_of_positions_from_zero():
    """Lines at q and 2q stay so, though the axis begins at 21 widths of a bin."""
    first, x = 21, torch.zeros(2, 300)
    x[0, 100 - first], x[1, 200 - first] = 1.0, 1.0
    y, _ = stretch(x, torch.ones(2, 300, dtype=torch.bool), torch.tensor([[0.95]] * 2), first)
    places = (y * (torch.arange(300) + first + 0.5)).sum(1) / y.sum(1)
    torch.testing.assert_close(places, torch.tensor([100.5, 200.5]) / 0.95, atol=0.05, rtol=0)


def test_rows_are_standardised_over_what_was_measured():
    torch.manual_seed(0)
    x = torch.rand(3, 50) * torch.tensor([[1e-20], [1.0], [1e37]])
    measured = torch.rand(3, 50) > 0.3
    z = standardise_rows(scale_rows(torch.where(measured, x, torch.nan)), measured)
    for row, keep in zip(z, measured, strict=True):
        assert row[keep].mean() == pytest.approx(0, abs=1e-4)
        assert row[keep].std(unbiased=False) == pytest.approx(1, rel=1e-3)
        assert (row[~keep] == 0).all()
    assert (standardise_rows(torch.full((1, 50), 0.3), torch.ones(1, 50, dtype=torch.bool)).abs() < 0.1).all()


def test_loss_sums_probabilities_to_each_level():
    torch.manual_seed(0)
    space_groups = np.array([2, 14, 15, 221, 225])
    scores, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 1])
    weights = check_hierarchy_weights("space_group", {"crystal_system": 1.0, "space_group": 3.0})
    levels = [(w, level_index(space_groups, level)[1]) for level, w in weights.items()]
    sample_weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 1.0])
    loss = LevelsLoss(levels)(scores, target, sample_weight)
    proba = torch.softmax(scores, 1).numpy().astype(float)
    labels, index = level_index(space_groups, "crystal_system")
    assert labels.tolist() == ["cubic", "monoclinic", "triclinic"]
    coarse = sum_to_level(proba, index, 3)
    rows, leaf = np.arange(6), target.numpy()
    expected = -0.25 * np.log(coarse[rows, index[leaf]]) - 0.75 * np.log(proba[rows, leaf])
    assert loss.item() == pytest.approx((expected * sample_weight.numpy()).mean(), rel=1e-5)


def test_loss_without_levels_is_smoothed_cross_entropy():
    torch.manual_seed(0)
    scores, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 1])
    expected = torch.nn.functional.cross_entropy(scores, target, label_smoothing=0.1)
    torch.testing.assert_close(LevelsLoss([], 0.1)(scores, target, torch.ones(6)), expected)


def test_loss_and_gradient_stay_finite_for_certain_errors():
    levels = [(1.0, level_index(np.array([2, 221, 225]), "crystal_system")[1])]
    scores = torch.tensor([[200.0, -200.0, -200.0]], requires_grad=True)
    loss = LevelsLoss(levels)(scores, torch.tensor([1]), torch.ones(1))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


def test_schedules():
    rates = [schedule_factor("one_cycle", p) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == rates[25] == 1
    assert rates[-1] == pytest.approx(0)
    assert (np.diff(rates[:26]) > 0).all()
    assert (np.diff(rates[25:]) < 0).all()
    assert [schedule_factor("cosine", p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert schedule_factor("constant", 0.7) == 1


def test_own_random_numbers_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before, x = torch.get_rng_state(), torch.zeros(4)
    with own_random_numbers("cpu"):
        seed_generators(1, 2)
        first = rand(4, like=x)
        torch.rand(100)  # as another thread may do
        second = rand(4, like=x)
        seed_generators(1, 2)
        torch.testing.assert_close(rand(4, like=x), first)
        torch.testing.assert_close(rand(4, like=x), second)
        torch.set_rng_state(before)
    assert own_generator("cpu") is None
    assert torch.equal(torch.get_rng_state(), before)


def test_devices():
    assert check_device("cpu") == torch.device("cpu")
    assert check_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="this machine has"):
        check_device("cuda:99")
    with pytest.raises(ValueError, match="device must be"):
        check_device(3.5)


def test_gpu_model_predicts_on_the_cpu_with_a_warning_where_the_gpu_is_gone():
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    model = FusionClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)
    expected = model.predict_proba(X)
    model.set_params(device="cuda:99")
    with pytest.warns(UserWarning, match="predicting on the CPU"):
        np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_state_holds_cpu_tensors_only():
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    model = FusionClassifier(max_epochs=1, random_state=0).fit(X, y)
    state = model.net_.__getstate__()
    tensors = list(state["module_"].state_dict().values())
    tensors += [v for s in state["optimizer_"].state.values() for v in s.values()]
    assert {t.device.type for t in tensors} == {"cpu"}
    assert state["device"] == "cpu"
