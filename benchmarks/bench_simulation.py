"""Speed of the simulation, compared with pymatgen, gemmi and plain sums in NumPy.

Run ``python benchmarks/bench_simulation.py``. Everything runs on one thread, or on as many as ``--threads``
says; the other programs always run on one. This package and the other programs run alternately. The results
are medians. If there is a CUDA device, the rendering is also timed on it, and compared with the time to write
and read every point once. ``--only powder`` and the like choose a part. ``--all`` also computes all of AMCSD
to 0.7 Å.
"""

import argparse
import resource
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import gemmi
import numpy as np
import torch
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from xtalsk import (
    BrokenEntryWarning,
    PowderConditions,
    RingConditions,
    SpotConditions,
    compute_reflections,
    load_amcsd,
    make_random_crystals,
    simulate_powder,
    simulate_rings,
    simulate_spots,
)
from xtalsk.simulation.images import _tensor_images

MO_K_ALPHA = 0.7107
D_MIN = 0.7


def sixty_structures():
    """Return sixty structures of AMCSD with cell volumes over the whole range."""
    crystals = load_amcsd()
    order = np.argsort(crystals.volumes)
    return crystals[order[np.linspace(0, len(order) - 1, 62).astype(int)[1:-1]]]


def seconds(work):
    """Return the time in s that a call of ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(works, repeats):
    """Run all works alternately, and return the median time of each in s."""
    times = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: float(np.median(values)) for name, values in times.items()}


def gemmi_structures(crystals):
    """Return the same structures for gemmi, each as an asymmetric unit with its symmetry operations."""
    structures = []
    for i in range(len(crystals)):
        text = crystals.to_pymatgen(i).to(fmt="cif", symprec=0.01)
        small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
        small.determine_and_set_spacegroup("S.")
        small.change_occupancies_to_crystallographic()
        structures.append(small)
    return structures


def gemmi_structure_factors(small):
    """Compute the structure factors of the unique reflections, with one call of the C++ code for each."""
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    hkl = gemmi.make_miller_array(small.cell, small.spacegroup, D_MIN)
    return [calculator.calculate_sf_from_small_structure(small, h) for h in hkl.tolist()]


def time_structure_factors(repeats):
    """Print the time for a structure, for all sixty in one call and for single calls, with ratios."""
    crystals = sixty_structures()
    theirs = gemmi_structures(crystals)
    structures = [crystals.to_pymatgen(i) for i in range(len(crystals))]
    calculator = XRDCalculator(wavelength=MO_K_ALPHA)
    two_theta = (0, 2 * np.degrees(np.arcsin(MO_K_ALPHA / (2 * D_MIN))))
    own = interleaved(
        {
            "own": lambda: compute_reflections(crystals, "xray", D_MIN, wavelength=MO_K_ALPHA),
            "gemmi": lambda: [gemmi_structure_factors(small) for small in theirs],
        },
        repeats,
    )
    peer = [
        seconds(lambda s=s: calculator.get_pattern(s, scaled=False, two_theta_range=two_theta))
        for s in structures
    ]
    single = [
        interleaved(
            {
                "own": lambda i=i: compute_reflections(crystals[i], "xray", D_MIN, wavelength=MO_K_ALPHA),
                "gemmi": lambda i=i: gemmi_structure_factors(theirs[i]),
            },
            3,
        )
        for i in range(len(crystals))
    ]
    n = len(crystals)
    mean = {"own": own["own"] / n, "gemmi": own["gemmi"] / n, "pymatgen": np.mean(peer)}
    median = {name: np.median([one[name] for one in single]) for name in ("own", "gemmi")}
    median["pymatgen"] = np.median(peer)
    print(f"structure factors to {D_MIN} Å, X-rays, ms per structure (60 of AMCSD, small to large cells)")
    print(f"  {'':<10} {'all in one call':>16} {'own faster by':>14} {'one by one, median':>20}")
    for name in mean:
        ratio = mean[name] / mean["own"]
        print(f"  {name:<10} {1e3 * mean[name]:>16.2f} {ratio:>14.2f} {1e3 * median[name]:>20.2f}")
    print(f"  median of pymatgen / mean of own in one call: {median['pymatgen'] / mean['own']:.0f}")


def five_hundred_lines(radiation, n):
    """Return the reflections of ``n`` crystals, with 500 random lines each."""
    crystals = load_amcsd()
    d_min = {"xray": 0.78, "electron": 0.7}[radiation]
    large = np.flatnonzero((crystals.volumes > 700) & (crystals.volumes < 1500))
    chosen = crystals[large[:: len(large) // (4 * n)]]
    lines = compute_reflections(
        chosen, radiation, d_min, wavelength=1.540593 if radiation == "xray" else None
    )
    rng = np.random.default_rng(0)
    keep, counts = [], []
    for i in range(len(lines)):
        rows = np.arange(lines.offsets[i], lines.offsets[i + 1])
        if len(rows) >= 500 and len(counts) < n:
            keep.append(np.sort(rng.choice(rows, 500, replace=False)))
            counts.append(i)
    keep, counts = torch.from_numpy(np.concatenate(keep)), np.array(counts)
    columns = {name: getattr(lines, name)[keep] for name in ("q", "hkl", "multiplicity", "intensity")}
    per_crystal = {name: getattr(lines, name)[counts] for name in ("lattices", "rotation_index", "ids")}
    return replace(lines, offsets=500 * np.arange(len(counts) + 1), **columns, **per_crystal)


def direct_sum(axis, two_theta, weight, fwhm, eta):
    """Compute one powder pattern as a plain NumPy sum: every line at every point."""
    x = 2 * (axis - two_theta[:, None]) / fwhm
    return weight @ (eta / (1 + x * x) + (1 - eta) * np.exp(-np.log(2) * x * x))


def without_counting(work):
    """Run ``work`` so that it returns expected electrons instead of counts."""

    def engine(tensor):
        module = _tensor_images.engine(tensor)

        def render_images(*arguments, seeds, **named):
            return module.render_images(*arguments, **named)

        return SimpleNamespace(draw_grains=module.draw_grains, render_images=render_images)

    with mock.patch("xtalsk.simulation.images._rings.engine", engine):
        return work()


def time_rendering(device, n, repeats, only=""):
    """Print the number of patterns per second, including the counting noise; ``only`` chooses by name."""
    powder_lines = on_device(five_hundred_lines("xray", 64), device)
    ring_lines = on_device(five_hundred_lines("electron", 64), device)
    rows = np.arange(n) % 64
    axis = (10.0, 10 + 4095 * 0.02, 0.02)
    plain = replace(
        PowderConditions.ideal(), two_theta=axis, crystallite_size=(300.0, 3000.0), background=50.0
    )
    works = {
        "powder, 4096 points, 500 lines, one pseudo-Voigt width": lambda: simulate_powder(
            powder_lines, rows, plain
        ),
        "powder, typical: widths that change with angle, Kα2, background": lambda: simulate_powder(
            powder_lines, rows, replace(PowderConditions(), two_theta=axis)
        ),
        "powder, harsh": lambda: simulate_powder(
            powder_lines, rows, replace(PowderConditions.harsh(), two_theta=axis)
        ),
    }
    for size in (128, 256):
        works[f"rings {size}², typical: individual centre and ellipse"] = lambda size=size: simulate_rings(
            ring_lines, rows, RingConditions(image_size=size)
        )
        works[f"rings {size}², the same before counting"] = lambda size=size: without_counting(
            lambda: simulate_rings(ring_lines, rows, RingConditions(image_size=size))
        )
    for preset in ("harsh", "measured"):
        conditions = replace(getattr(RingConditions, preset)(), image_size=128)
        works[f"rings 128², {preset}"] = lambda conditions=conditions: simulate_rings(
            ring_lines, rows, conditions
        )
    hundred = SpotConditions(image_size=128, thickness_angstrom=60.0)
    works["spots 128², 60 Å thick"] = lambda: simulate_spots(ring_lines, rows, hundred)
    rng = np.random.default_rng(0)
    points, two_theta = np.arange(4096) * 0.02 + 10, rng.uniform(10, 92, 500)
    peer = f"powder in NumPy: {len(two_theta)} pseudo-Voigt functions at every point, no noise"
    works = {name: work for name, work in works.items() if name.startswith(only)}
    works[peer] = lambda: direct_sum(points, two_theta, np.ones(500), 0.1, 0.5)
    for work in works.values():
        work()
    times = interleaved(works, repeats)
    rates = {name: (1 if name == peer else n) / value for name, value in times.items()}
    where = f"{device} ({torch.get_num_threads()} threads)" if device == "cpu" else device
    print(f"\npatterns per second on {where}, with counting noise, {n} per call; ratio to NumPy's sum")
    for name, rate in rates.items():
        print(f"  {name:<64} {rate:9.0f} {rate / rates[peer]:7.1f}")
    if not "spots".startswith(only):
        return rates
    values = simulate_spots(ring_lines, rows, hundred, random_state=0, return_conditions=True)[1]
    print(f"  spots on the image: median {values['n_spots'].median():.0f}")
    return rates


def on_device(lines, device):
    """Return the reflections on another device."""
    columns = {name: getattr(lines, name).to(device) for name in ("q", "hkl", "multiplicity", "intensity")}
    return replace(lines, **columns)


def time_floor(device):
    """Print the patterns per second if each point were written and read once, in single precision."""
    big = torch.empty(256 * 1024**2, device=device)
    torch.cuda.synchronize()
    time_of_pass = np.median([seconds(lambda: (big.add_(1), torch.cuda.synchronize())) for _ in range(10)])
    per_point = time_of_pass / big.numel()
    print("upper limit, one pass over memory: " + ", ".join(
        f"{name} {1 / (points * per_point):.2g}/s"
        for name, points in (("powder 4096", 4096), ("rings 128²", 128**2), ("rings 256²", 256**2))
    ))  # fmt: skip


def time_all():
    """Print the time for all of AMCSD, X-rays to 0.7 Å."""
    crystals = load_amcsd()
    time_of_all = seconds(lambda: compute_reflections(crystals, "xray", D_MIN, wavelength=MO_K_ALPHA))
    print(f"\nall {len(crystals)} structures of AMCSD to {D_MIN} Å: {time_of_all:.1f} s")


def time_random_crystals():
    """Print the random crystals per second; compare with PyXtal if it is installed."""
    amcsd_groups = load_amcsd().space_groups[::5]
    make_random_crystals(np.arange(1, 231), random_state=0)  # derives the Wyckoff positions
    rates = {}
    all_groups = np.repeat(np.arange(1, 231), 4)
    for name, numbers in (("all 230 groups", all_groups), ("groups as in AMCSD", amcsd_groups)):
        rates[name] = len(numbers) / seconds(lambda n=numbers: make_random_crystals(n, random_state=1))
    print("\nrandom crystals per second: " + ", ".join(f"{k} {v:.0f}" for k, v in rates.items()))
    try:
        from pyxtal import pyxtal
        from pyxtal.msg import Comp_CompatibilityError
    except ImportError:
        return
    n_valid, numbers = 0, np.random.default_rng(0).choice(np.arange(1, 231), 40, replace=False)
    start = time.perf_counter()
    for number in numbers:
        crystal = pyxtal()
        with suppress(Comp_CompatibilityError):
            crystal.from_random(3, int(number), ["Si", "O"], [16, 32], random_state=0)
            n_valid += crystal.valid
    rate = n_valid / (time.perf_counter() - start)
    ratio = rates["all 230 groups"] / rate
    groups = f"Si16O32 in {len(numbers)} groups"
    print(f"  PyXtal, {groups}: {rate:.1f}, {n_valid} valid; own faster by {ratio:.0f}")


def memory_of_rendering():
    """Print the size of 1,000 ring images and the growth of the peak memory while they are rendered."""
    lines = five_hundred_lines("electron", 16)
    simulate_rings(lines, np.arange(16), RingConditions(image_size=256))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    images = simulate_rings(lines, np.arange(1000) % 16, RingConditions(image_size=256))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"1,000 ring images of 256²: {images.nbytes / 2**20:.0f} MiB of counts, "
        f"peak memory grew by {after - before:.0f} MiB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also compute all of AMCSD")
    parser.add_argument("--n", type=int, default=512, help="patterns per call")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", choices=("", "structure factors", "powder", "rings", "spots"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", BrokenEntryWarning)
    torch.set_num_threads(options.threads)
    if options.only in ("", "structure factors"):
        time_structure_factors(options.repeats)
    if options.only != "structure factors":
        time_rendering("cpu", options.n, options.repeats, options.only)
    if not options.only:
        memory_of_rendering()
        time_random_crystals()
    if options.all:
        time_all()
    if torch.cuda.is_available():
        time_rendering("cuda", 64 * options.n, options.repeats, options.only)
        time_floor("cuda")


if __name__ == "__main__":
    main()
