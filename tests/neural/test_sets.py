"""Sub-networks of sets: elements of a composition, lines of a pattern."""

import numpy as np
import pandas as pd
import pytest
import torch

from xtalsk.columns import find_blocks
from xtalsk.composition import ElementFractions, element_properties
from xtalsk.neural._blocks import branch_of, measure_block
from xtalsk.neural._constants import N_SIMILAR, SUBSTITUTION
from xtalsk.neural._sets import ElementsBranch, PeaksBranch, SetSummary
from xtalsk.utils._formula import FEATURE_NAMES

ALKALI, CHALCOGEN, HALOGEN = ["Li", "Na", "K", "Cs"], ["O", "S", "Te"], ["F", "Cl", "I"]


def fractions(formulas):
    table = ElementFractions().set_output(transform="pandas").fit_transform(formulas)
    return table.add_prefix("formula__")


def make_branch(block):
    torch.manual_seed(0)
    return (ElementsBranch if block.layout == "elements" else PeaksBranch)(block, 16, 8, 0.0).eval()


def test_layouts_follow_from_names():
    names = [f"a__{name}" for name in reversed(FEATURE_NAMES)] + ["b__fe", "b__o"]
    names += [f"c__peak_{line:02}_{name}" for name in ("q2", "height") for line in (1, 0, 2)]
    names += ["d__peak_00_q2", "d__peak_01_height"]
    blocks = {block.name: block for block in find_blocks(names, len(names))}
    assert {name: branch_of(block) for name, block in blocks.items()} == {
        "a": "elements", "b": "dense", "c": "peaks", "d": "dense"
    }  # fmt: skip
    assert [names[i] for i in blocks["a"].columns[:2]] == ["a__h", "a__he"]
    assert blocks["c"].shape == (3, 2)
    assert [names[i] for i in blocks["c"].columns[:3]] == [
        "c__peak_00_q2",
        "c__peak_00_height",
        "c__peak_01_q2",
    ]
    for layout, message in (("elements", "one column for each element"), ("peaks", "not a list of peaks")):
        with pytest.raises(ValueError, match=f"block 'b'.*{message}"):
            find_blocks(names, len(names), {"b": layout})


def test_properties_of_elements():
    table = element_properties()
    assert len(table) == 98
    assert np.isfinite(table).all()
    distance = np.linalg.norm(table - table[FEATURE_NAMES.index("cl")], axis=1)
    assert FEATURE_NAMES[np.argsort(distance)[1]] in ("br", "s")


def test_summary_does_not_depend_on_order_and_absent_members():
    torch.manual_seed(0)
    summary = SetSummary(1, 16, 8, 0.0).eval()
    members, weight, extra = torch.randn(3, 5, 64), torch.rand(3, 5), torch.rand(3, 1)
    weight[0, 2:] = 0
    expected = summary(members, weight, extra)
    order = torch.randperm(5)
    torch.testing.assert_close(summary(members[:, order], weight[:, order], extra), expected)
    torch.testing.assert_close(summary(members[:1, :2], weight[:1, :2], extra[:1]), expected[:1])
    weight[1] = 0
    assert summary(members, weight, extra).isfinite().all()


def test_elements_depend_on_ratios_and_not_on_the_batch():
    X = fractions(["NaCl", "CaTiO3", "KAl3Si3O12H2", "Fe", "SiO2"]).to_numpy()
    X[4, 0] = np.nan
    branch = make_branch(measure_block(find_blocks(fractions(["Fe"]).columns, 98)[0], X))
    X = torch.from_numpy(X)
    expected = branch(X)
    torch.testing.assert_close(branch(3 * X), expected)
    torch.testing.assert_close(torch.cat([branch(row) for row in X.split(1)]), expected)
    assert branch(torch.zeros(1, 98)).isfinite().all()
    known = X.clone()
    known[4, 0] = 0.0
    assert not torch.allclose(branch(known)[4], expected[4])


def test_elements_are_replaced_by_similar_ones_in_training():
    branch = make_branch(measure_block(find_blocks(fractions(["Fe"]).columns, 98)[0], np.ones((2, 98))))
    element = torch.full((2000, 2), FEATURE_NAMES.index("cl"))
    amounts = torch.full((2000, 2), 0.5)
    noisy, replaced = branch._disturb(amounts, element)
    share = (replaced != element).float().mean().item()
    assert abs(share - SUBSTITUTION) < 0.03
    names = {FEATURE_NAMES[i] for i in replaced.unique()}
    assert "br" in names
    assert len(names) == 1 + N_SIMILAR
    assert 0.05 < (noisy / amounts).log().std() < 0.2


def test_new_elements_are_read_by_their_properties(small):
    rng = np.random.default_rng(0)
    formulas = [[f"{a}{x}", f"{a}2{x}3"][i] for a in ALKALI for x in CHALCOGEN + HALOGEN for i in (0, 1)]
    y = np.array([x in HALOGEN for _ in ALKALI for x in CHALCOGEN + HALOGEN for _ in (0, 1)])
    rows = rng.permutation(np.tile(np.arange(len(y)), 2))
    new = fractions(["RbBr", "Rb2Br3", "RbSe", "Rb2Se3"])
    X = fractions(formulas).iloc[rows]
    model = small(max_epochs=15).fit(X, y[rows])
    assert model.blocks_ == {"formula": "elements"}
    assert model.predict(new).tolist() == [True, True, False, False]
    dense = small(max_epochs=15, branches={"formula": "dense"}).fit(X, y[rows])
    assert np.ptp(dense.predict_proba(new)[:, 1]) < np.ptp(model.predict_proba(new)[:, 1])


def make_peaks(n=96, n_lines=6, seed=0):
    """Return lines of cells of random size; the ratio of the first two tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    q2 = rng.uniform(0.02, 0.06, (n, 1)) * (np.arange(1, n_lines + 1) * np.where(y, 2, 1)[:, None] + 1)
    lines = np.stack([q2, rng.uniform(0.2, 1, q2.shape), np.full(q2.shape, 0.002)], axis=2)
    lines[::3, 4:] = np.nan
    names = [f"x__peak_{line:02}_{name}" for line in range(n_lines) for name in ("q2", "height", "width")]
    return pd.DataFrame(lines.reshape(n, -1).astype(np.float32), columns=names), y


def test_peaks_are_a_set(small):
    X, y = make_peaks()
    (block,) = find_blocks(X.columns, X.shape[1])
    branch = make_branch(measure_block(block, X.to_numpy()))
    lines = torch.from_numpy(X.to_numpy()).unflatten(1, block.shape)
    expected = branch(lines.flatten(1))
    torch.testing.assert_close(branch(lines[:, torch.randperm(6)].flatten(1)), expected)
    assert expected.isfinite().all()
    model = small(max_epochs=20).fit(X, y)
    assert model.blocks_ == {"x": "peaks"}
    new, y_new = make_peaks(seed=1)
    assert model.score(new, y_new) > 0.75


def test_the_packaged_properties_are_those_of_pymatgen():
    from xtalsk.composition._build_element_properties import compute

    table, computed = element_properties(), compute()
    assert table.shape == computed.shape
    assert np.isclose(table, computed, atol=1e-3).mean() > 0.98  # newer versions may correct single values
