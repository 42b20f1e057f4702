"""The warning about entries that were left out, or kept in doubt."""


class BrokenEntryWarning(UserWarning):
    """Some entries cannot be used and were left out, or contradict themselves and were kept.

    Attributes
    ----------
    errors : dict of str to str
        The reason for each entry, by its identifier.
    n_entries : int
        Number of all entries.
    is_kept : bool
        Whether the entries were kept: something in them contradicts the crystal that was read, or had to be
        assumed.

    Examples
    --------
    >>> from xtalsk.crystals import BrokenEntryWarning
    >>> print(BrokenEntryWarning({"quartz.cif": "it lists no atoms"}, 12))
    1 of 12 entries were left out:
    quartz.cif: it lists no atoms
    """

    def __init__(self, errors, n_entries, is_kept=False):
        self.errors, self.n_entries, self.is_kept = errors, n_entries, is_kept
        super().__init__(errors, n_entries, is_kept)

    @classmethod
    def of_crystals(cls, crystals, faults):
        """Return the warning for the faults (dict of row to reason) of a `CrystalSet`."""
        errors = {f"crystal {i} ({crystals.ids[i] or crystals.formulas[i]})": f for i, f in faults.items()}
        return cls(errors, len(crystals))

    def __str__(self):
        lines = [f"{name}: {reason}" for name, reason in self.errors.items()]
        fate = "are doubtful and were kept" if self.is_kept else "were left out"
        return f"{len(self.errors)} of {self.n_entries} entries {fate}:\n" + "\n".join(lines)
