"""Numbered blocks: one sub-network for all zones of a crystal, whatever their order and number."""

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk.columns import find_blocks, join_numbered
from xtalsk.neural._pooling import PooledBranch, drop_members

N_ZONES, N_BINS = 4, 32
SPACE_GROUPS = np.array([2, 14, 62, 225])


def names_of(n_zones=N_ZONES):
    zones = range(1, n_zones + 1)
    profile = [f"profile_{k}__q_{i:04}" for k in zones for i in range(N_BINS)]
    return profile + [f"lattice_{k}__{x}" for k in zones for x in "abc"] + ["fractions__o", "fractions__fe"]


def zones_of(X, k):
    return [name for name in X if f"_{k}__" in name]


@pytest.fixture(scope="module")
def zones():
    """Zones of four kinds of crystals; each zone shows one of three lines and a number of the kind."""
    rng = np.random.default_rng(0)
    n = 160
    code = np.arange(n) % 4
    lines = 3 + 6 * code[:, None] + rng.integers(0, 3, (n, N_ZONES))
    profile = 20 * (np.arange(N_BINS) == lines[:, :, None]) + rng.normal(size=(n, N_ZONES, N_BINS))
    lattice = rng.normal(size=(n, N_ZONES, 3)) + 0.5 * code[:, None, None]
    chemistry = rng.normal(size=(n, 2)) + 0.1 * code[:, None]
    n_measured = rng.integers(1, N_ZONES + 1, n)
    for values in (profile, lattice):
        values[np.arange(N_ZONES) >= n_measured[:, None]] = np.nan
    chemistry[::3] = np.nan
    values = np.hstack([profile.reshape(n, -1), lattice.reshape(n, -1), chemistry])
    return pd.DataFrame(values.astype(np.float32), columns=names_of()), SPACE_GROUPS[code]


@pytest.fixture(scope="module")
def trained(zones, small):
    return small(hierarchy="space_group", max_epochs=12).fit(*zones)


def test_zones_are_one_block(trained, zones):
    assert trained.blocks_ == {"profile": "conv1d", "lattice": "dense", "fractions": "dense"}
    assert trained.score(*zones) > 0.9


def test_order_and_number_of_zones_are_free(trained, zones):
    X = zones[0]
    expected = trained.predict_proba(X)
    turned = X.copy()
    for k, other in zip((1, 2, 3, 4), (3, 1, 4, 2), strict=True):
        turned[zones_of(X, k)] = X[zones_of(X, other)].to_numpy()
    np.testing.assert_allclose(trained.predict_proba(turned), expected, atol=1e-6)
    single = X.copy()
    for k in (2, 3, 4):
        single[zones_of(X, k)] = np.nan
    alone = trained.predict_proba(single)
    assert (trained.classes_[alone.argmax(1)] == zones[1]).mean() > 0.8
    had_one = X[zones_of(X, 2)].isna().all(axis=1)
    np.testing.assert_allclose(alone[had_one], expected[had_one], atol=1e-6)
    assert np.abs(alone - expected)[~had_one].max() > 1e-3


def test_the_answer_of_a_row_does_not_depend_on_the_batch(trained, zones):
    expected = trained.predict_proba(zones[0])
    for rows in (slice(0, 3), slice(40, 101)):
        np.testing.assert_allclose(trained.predict_proba(zones[0][rows]), expected[rows], atol=1e-5)


def test_statistics_are_those_of_all_zones(zones, tiny):
    X = zones[0]
    branch = tiny(max_epochs=1).fit(*zones).net_.module_.branches[1][0].branch
    values = X[[name for name in X if name.startswith("lattice")]].to_numpy().reshape(-1, 3)
    np.testing.assert_allclose(branch.mean, np.nanmean(values, axis=0), rtol=1e-4)
    np.testing.assert_allclose(branch.scale, np.nanstd(values, axis=0), rtol=1e-4)
    assert len(branch.gaps) == 0  # a zone that is not measured is no gap of a column


def test_without_pooling_zones_are_blocks_of_their_own(zones, tiny):
    apart = tiny(pool=None, max_epochs=1).fit(*zones)
    assert list(apart.blocks_)[:4] == ["profile_1", "profile_2", "profile_3", "profile_4"]
    with pytest.raises(ValueError, match="pool must be"):
        tiny(pool="all").fit(*zones)


def test_an_old_pickle_keeps_its_blocks_and_answers(zones, tiny, revive):
    model = tiny(pool=None, max_epochs=1).fit(*zones)
    expected = model.predict_proba(zones[0])
    del model.pool  # as in files from before the parameter
    old = revive(model)
    assert old.get_params()["pool"] is None
    np.testing.assert_array_equal(old.predict_proba(zones[0]), expected)
    old.partial_fit(*zones)
    assert "profile_1" in old.blocks_


def test_blocks_with_other_columns_stay_apart():
    names = ["a_1__x", "a_1__y", "a_2__x", "a_2__z", "b_1__x", "c_2__x", "c_10__x", "c_1__x"]
    joined = join_numbered(find_blocks(names, 8), names)
    assert [b.name for b in joined] == ["a_1", "a_2", "b_1", "c"]
    assert joined[-1].columns.tolist() == [[7], [5], [6]]
    names = ["c_1__x", "c_2__x", "c__y"]
    with pytest.raises(ValueError, match="block 'c' has the name of"):
        join_numbered(find_blocks(names, 3), names)


def test_parameters_name_the_stem_or_a_zone(zones, tiny):
    dropped = tiny(branches={"profile": "drop"}, max_epochs=1).fit(*zones)
    assert list(dropped.blocks_) == ["lattice", "fractions"]
    dense = tiny(branches={"profile_2": "drop"}, modality_dropout={"profile": 0.5}, max_epochs=1).fit(*zones)
    assert dense.net_.module_.branches[0][0].union is not None
    assert dense.net_.module_.columns_0.shape == (N_ZONES - 1, N_BINS)
    with pytest.raises(ValueError, match="no column belongs to block 'polar'"):
        tiny(branches={"polar": "drop"}).fit(*zones)


def test_profiles_are_read_at_several_scales(trained, zones):
    expected = trained.predict_proba(zones[0][:9])
    trained.set_params(n_test_time_scales=3)
    scaled = trained.predict_proba(zones[0][:9])
    trained.set_params(n_test_time_scales=0)
    assert 0 < np.abs(scaled - expected).max() < 0.2


def test_a_branch_reads_only_measured_zones(record):
    layer = torch.nn.Linear(3, 2)
    calls = record(layer, "forward")
    x = torch.randn(5, 4, 3)
    x[1, 1:], x[3, :2] = torch.nan, torch.nan
    out = PooledBranch(layer, 2, 0.0).eval()(x)
    assert calls[0][0].shape == (15, 3)
    assert not out.isnan().any()


def test_blocks_of_the_same_zones_lose_the_same_zones():
    first, second, other = torch.ones(400, 4, 2), torch.ones(400, 4, 3), torch.ones(400, 5)
    first[:, 3], second[:, 3] = torch.nan, torch.nan
    dropped = drop_members([first, other, second])
    kept = ~dropped[0].isnan().any(2)
    assert torch.equal(kept, ~dropped[2].isnan().any(2))
    assert torch.equal(dropped[1], other)
    assert kept.any(1).all()
    assert not kept[:, 3].any()
    counts = np.bincount(kept.sum(1), minlength=4)
    assert counts[3] > 200  # half keep all, and some of the others do
    assert counts[1] > 30
    assert first[:, :3].isnan().sum() == 0


def test_training_is_repeatable(zones, tiny):
    first, second = (tiny(mixup=0.2).fit(*zones).predict_proba(zones[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
