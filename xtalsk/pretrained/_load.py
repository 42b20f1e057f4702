"""The files of trained pipelines in the package."""

import json
import warnings
from pathlib import Path

MODELS = Path(__file__).parent / "models"


class ModelCard(dict):
    """Description of a trained pipeline: a dict that shows itself as Markdown.

    Its keys are ``title``, ``columns``, ``answers``, ``data``, ``conditions``, ``splits``, ``scores``,
    ``limits``, ``licences``, ``versions`` and ``training``.

    Examples
    --------
    >>> from xtalsk import load_pretrained
    >>> _, card = load_pretrained("powder", return_card=True)
    >>> card["columns"]
    {'powder': 'X-ray powder pattern', 'formula': 'composition, optional'}
    >>> print(card.to_markdown().splitlines()[0])
    # Space groups from X-ray powder patterns
    """

    def to_markdown(self):
        """Return the card as Markdown text, str."""
        parts = [f"# {self['title']}", self["answers"], _table("Columns", "column | what", self["columns"])]
        parts += [f"## {name.capitalize()}\n\n{self[name]}" for name in ("data", "conditions", "splits")]
        rows = [f"| {' | '.join(map(str, row.values()))} |" for row in self["scores"]]
        names = list(self["scores"][0])
        head = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        parts.append("## Scores\n\n" + "\n".join(head + rows))
        parts.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in self["limits"]))
        parts.append(_table("Licences", "part | licence", self["licences"]))
        parts.append(_table("Versions", "package | version", self["versions"]))
        return "\n\n".join(parts) + "\n"

    def _repr_markdown_(self):
        return self.to_markdown()


def _table(title, head, values):
    """Return a section with a table of two columns."""
    rows = [f"| {name} | {value} |" for name, value in values.items()]
    return "\n".join([f"## {title}", "", f"| {head} |", "|---|---|", *rows])


def load_pretrained(name, *, return_card=False):
    """Load a trained pipeline that comes with xtalsk.

    Parameters
    ----------
    name : {"powder", "rings", "spots"}
        What the pipeline reads; see the columns of its card. Each also takes a column ``formula``.

        - ``"powder"``: X-ray powder patterns.
        - ``"rings"``: images of electron diffraction rings.
        - ``"spots"``: one to eight electron diffraction patterns of a single crystal, in columns ``spots_1``,
          ``spots_2``, ... or the one column ``spots``.
    return_card : bool, default=False
        Whether to return the card, too: data, conditions, splits, scores on measured sets, limits, licences
        and versions.

    Returns
    -------
    pipeline : Pipeline
        Predicts space-group numbers from a table with one row for each specimen. A cell is a path to a file,
        a `Profile`, a `DiffractionImage`, a formula, or None if it was not measured; columns may be absent.
    card : ModelCard
        Only with ``return_card``.

    Raises
    ------
    ValueError
        If the name is unknown. In prediction: if a column is unknown; the message lists the known ones.

    Warns
    -----
    BrokenCellWarning
        In prediction, if cells cannot be read or have no calibration. The message names the rows. These cells
        count as not measured.
    NotMeasuredWarning
        In prediction, if a row has no cell that could be read. It gets no answer: its probabilities are NaN
        and its label is 0.

    See Also
    --------
    load : Reads a file that `save` wrote.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from xtalsk import Profile, load_pretrained
    >>> two_theta = np.arange(20, 90, 0.02)
    >>> lines = [38.18, 44.39, 64.58, 77.55, 81.72]  # gold, Cu Kα
    >>> heights = [100, 52, 32, 36, 12]
    >>> intensity = 20 + sum(
    ...     10 * h * np.exp(-(((two_theta - x) / 0.1) ** 2)) for x, h in zip(lines, heights)
    ... )
    >>> scan = Profile(intensity, two_theta=two_theta, wavelength=1.5406)
    >>> pipeline = load_pretrained("powder")
    >>> pipeline.predict(pd.DataFrame({"powder": [scan], "formula": ["Au"]}))
    array([225])
    """
    known = sorted(file.stem for file in MODELS.glob("*.xtalsk"))
    if name not in known:
        raise ValueError(f"unknown pretrained pipeline {name!r}; known are {known}")
    from xtalsk.persistence import VersionWarning, load  # slow to import

    with warnings.catch_warnings():
        # the tests of xtalsk compare the answers of these files with all versions that it supports
        warnings.simplefilter("ignore", VersionWarning)
        pipeline = load(MODELS / f"{name}.xtalsk")
    if not return_card:
        return pipeline
    return pipeline, ModelCard(json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8")))
