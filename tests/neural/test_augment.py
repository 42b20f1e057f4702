"""Disturbances of profiles in training, one by one."""

import numpy as np
import pytest
import torch

from xtalsk.columns import find_blocks
from xtalsk.neural import _augment
from xtalsk.neural._augment import ProfileAugment, check_augment, limit_stretch
from xtalsk.neural._blocks import measure_block
from xtalsk.neural._branches import Conv1dBranch
from xtalsk.neural._disturbances import (
    add_counting_noise,
    add_foreign_phase,
    broaden,
    drop_peaks,
    mask_bins,
    stretch,
)

N, N_BINS = 2000, 200


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def lines(*centers, width=3.0, n=N):
    """Square roots of intensities of Gaussian lines."""
    bins = torch.arange(float(N_BINS))
    intensity = sum(torch.exp(-0.5 * ((bins - c) / width) ** 2) for c in centers)
    return intensity.sqrt().repeat(n, 1), torch.ones(n, N_BINS, dtype=torch.bool)


def disturbed(x, measured, **amounts):
    return ProfileAugment(**check_augment(amounts)).train()(x, measured)


def test_counting_noise_grows_with_the_intensity():
    intensity = torch.tensor([1.0, 4.0, 16.0, 64.0]).repeat_interleave(50)
    x = intensity.sqrt().repeat(N, 1)
    measured = torch.ones_like(x, dtype=torch.bool)
    noisy = add_counting_noise(x, measured, 0.05)
    variance = (noisy.square() - intensity).square().mean(0).view(4, 50).mean(1)
    mean = intensity.mean()
    # the mean of r², log-uniform over a factor of 100, and of b, uniform from 0 to the mean intensity
    relative = 0.05**2 * (1 - 1e-4) / (2 * np.log(100))
    expected = relative * mean * (torch.tensor([1.0, 4.0, 16.0, 64.0]) + mean / 2)
    torch.testing.assert_close(variance, expected, rtol=0.1, atol=0)


def test_counting_noise_is_log_uniform_by_row_and_of_one_width_after_the_root():
    x = torch.full((N, N_BINS), 3.0)
    x[:, ::2] = 30.0
    noisy = disturbed(x, torch.ones_like(x, dtype=torch.bool), shot_noise=0.02)[0]
    width = (noisy - x)[:, ::2].std(1)
    amount = width / x[0].square().mean().sqrt() * 2
    assert amount.max() < 0.02 * 2
    decades = torch.log10(amount / 0.02)
    assert decades.median() == pytest.approx(-1, abs=0.12)
    assert decades.quantile(0.1) == pytest.approx(-1.8, abs=0.15)
    zero = disturbed(torch.zeros_like(x) - 1, torch.ones_like(x, dtype=torch.bool), shot_noise=0.02)[0]
    assert torch.isfinite(zero).all()
    assert zero.min() >= 0


def test_peak_dropout_takes_lines_of_some_rows():
    x, measured = lines(50, 150)
    dropped = drop_peaks(x, measured, 0.3)
    assert (dropped <= x + 1e-6).all()
    assert (dropped >= 0).all()
    weakened = dropped[:, [50, 150]] < 0.35 * x[:, [50, 150]]
    # the three windows of a row are at one of two lines each, mostly so near that its top goes
    assert 0.1 < weakened.float().mean() < 0.45
    untouched = (dropped[:, 30:170] >= 0.99 * x[:, 30:170]).all(1).float().mean()
    assert untouched == pytest.approx(0.7**3, abs=0.05)
    assert torch.equal(drop_peaks(x, measured, 0.0), x)
    assert not torch.equal(disturbed(x, measured, peak_dropout=0.3)[0], x)


def test_impurity_adds_a_share_of_another_profile_elsewhere():
    own, measured = lines(60, n=N // 2)
    other, _ = lines(140, n=N // 2)
    x, measured = torch.cat([own, other]), torch.cat([measured, measured])
    mixed = add_foreign_phase(x, measured, 0.4).square()
    torch.testing.assert_close(mixed.mean(1), x.square().mean(1), rtol=1e-3, atol=0)
    foreign = mixed[: N // 2, 100:].sum(1) / mixed[: N // 2].sum(1)
    has = foreign > 1e-3
    assert has.float().mean() == pytest.approx(0.5, abs=0.05)  # the others met one of their own
    assert foreign.max() == pytest.approx(0.4, abs=0.02)
    assert foreign[has].mean() == pytest.approx(0.2, abs=0.02)
    places = 100 + mixed[: N // 2][has][:, 100:].argmax(1)
    assert places.min() < 132
    assert places.max() > 148
    assert (disturbed(x, measured, impurity=0.4)[0] - x).abs().max() > 0.1
    assert torch.isfinite(disturbed(x[:1], measured[:1], impurity=0.4)[0]).all()


def test_foreign_phases_are_none_of_spectra():
    amounts = check_augment({"impurity": 0.3, "stretch": 0.05, "shift": 1.0})
    assert limit_stretch(amounts, "q") == amounts
    assert limit_stretch(amounts, "e") == {**amounts, "impurity": 0.0, "stretch": 0.002}


def test_broadening_adds_to_the_variance_of_lines_and_keeps_their_intensity():
    x, measured = lines(100, width=3.0, n=3)
    sigma = torch.tensor([[0.0], [2.0], [4.0]])
    intensity = broaden(x, measured, sigma).square()
    torch.testing.assert_close(intensity.sum(1), x.square().sum(1), rtol=1e-3, atol=0)
    bins = torch.arange(float(N_BINS))
    variance = (intensity * (bins - 100) ** 2).sum(1) / intensity.sum(1)
    torch.testing.assert_close(variance, 9 + sigma[:, 0] ** 2, rtol=1e-2, atol=0)
    flat = torch.ones(3, N_BINS)
    torch.testing.assert_close(broaden(flat, measured, sigma), flat)
    wide = disturbed(*lines(100), broaden=4.0)[0].amax(1)
    assert wide.min() == pytest.approx(np.sqrt(3 / 5), abs=0.01)
    assert wide.max() == pytest.approx(1, abs=0.01)


def test_broadening_leaves_out_what_was_not_measured():
    x, measured = lines(100, n=2)
    measured[:, 95:98] = False
    x[1, 95:98] = 50.0
    blurred = broaden(x, measured, torch.full((2, 1), 3.0))
    torch.testing.assert_close(blurred[0], blurred[1])
    assert (blurred[:, 95:98] == 0).all()


def test_shift_moves_lines_by_up_to_so_many_bins():
    x, measured = lines(50, 150)
    moved, seen = disturbed(x, measured, shift=3.0)
    places = moved[:, :100].argmax(1) - 50
    torch.testing.assert_close(moved[:, 100:].argmax(1) - 50, places + 0)
    assert (places.min(), places.max()) == (-3, 3)
    assert 0.95 < seen.float().mean() < 1
    exact, _ = stretch(x, measured, 1.0, 7, torch.full((N, 1), 2.0))
    torch.testing.assert_close(exact[:, :-2], x[:, 2:])


def test_masks_hide_both_ends_and_the_middle_up_to_the_amount():
    measured = torch.ones(N, N_BINS, dtype=torch.bool)
    left = mask_bins(measured, 0.4)
    hidden = 1 - left.float().mean(1)
    assert hidden.max() <= 0.4 + 2 / N_BINS
    assert hidden.mean() == pytest.approx(0.2, abs=0.02)
    assert (~left[:, 1]).float().mean() > 0.3
    assert (~left[:, -2]).float().mean() > 0.3
    inner = left.float().diff(dim=1)
    assert ((inner < 0).any(1) & left[:, 0] & left[:, -1]).any()
    some = torch.zeros(N, N_BINS, dtype=torch.bool)
    some[:, :3] = True
    assert mask_bins(some, 0.9).any(1).all()
    x, kept = disturbed(*lines(50, 150), masks=0.4)
    assert not kept.all()
    assert (x[~kept] == 0).all()


def test_hidden_bins_do_not_matter_to_the_branch(monkeypatch):
    """Also where the training data have no gaps."""

    def mask_some(measured, amount):
        measured = measured.clone()
        measured[:, 20:40] = False
        return measured

    monkeypatch.setattr(_augment, "mask_bins", mask_some)
    (block,) = find_blocks([f"a__q_{i:04}" for i in range(64)], 64)
    x = torch.rand(8, 64) + 0.1
    x[:, 50] = 3.0
    other = x.clone()
    other[:, 20:40] = 2.0
    block = measure_block(block, x.numpy(), masks=True)
    assert len(block.gaps) == 64
    torch.manual_seed(0)
    branch = Conv1dBranch(block, 4, 8, 0.0, check_augment({"masks": 0.3})).train()
    torch.testing.assert_close(branch(other), branch(x), atol=1e-4, rtol=1e-4)
    cut = x.clone()
    cut[:, 20:40] = torch.nan
    with_masks = branch(x)
    assert not torch.allclose(branch.eval()(x), branch(cut), atol=1e-3)
    branch.train().augment.masks = 0.0
    torch.testing.assert_close(branch(cut), with_masks, atol=1e-4, rtol=1e-4)


def test_disturbing_stays_finite_with_gaps_and_empty_rows():
    everything = {
        "shot_noise": 0.5,
        "peak_dropout": 0.5,
        "impurity": 0.5,
        "masks": 0.5,
        "shift": 2,
        "broaden": 3,
    }
    x, measured = lines(50, 150, n=64)
    measured = torch.rand(64, N_BINS) < 0.5
    measured[0] = False
    x = torch.where(measured, x, 0.0)
    x[1] = 0.0
    x[2] *= -1
    out, kept = disturbed(x, measured, noise=0.1, background=0.2, stretch=0.1, jitter=0.3, **everything)
    assert torch.isfinite(out).all()
    assert (out[~kept] == 0).all()
    augment = ProfileAugment(**check_augment(everything)).eval()
    assert augment(x, measured)[0] is x


def test_amounts_that_make_no_sense():
    for name, amount in {"peak_dropout": 1.1, "impurity": 0.95, "masks": 1.0}.items():
        with pytest.raises(ValueError, match=f"augment: {name} must be at most"):
            check_augment({name: amount})
    with pytest.raises(ValueError, match="augment: shot_noise must be a non-negative number"):
        check_augment({"shot_noise": -0.1})
    strength = check_augment(1.0)
    assert {name for name, amount in strength.items() if amount} == {
        "noise", "background", "stretch", "jitter"
    }  # fmt: skip
