"""Kinematic reflections of crystals: structure factors, families, lattice strain, preferred orientation."""
