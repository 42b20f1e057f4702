"""Measured powder patterns beside those calculated from the crystal structures they are labelled with.

Run ``python benchmarks/bench_powders.py FOLDER [--figure FILE.png] [--csv FILE.csv]`` with a folder that
holds, for each material, a folder with the measured pattern (``.csv``: 2θ in degrees, intensity) and the
structure (``.cif``). The curve drawn is the forward model with nothing fitted but scale, background, zero
shift and width. What else would have to change is reported in the table: radiation, cell, texture, phase.
"""
