"""Tables of answers for a terminal."""

import pandas as pd

from xtalsk.symmetry import space_group_symbol

LEAST_SHOWN = 0.05
"""A phase of a lower probability does not fit."""


def table_of(answers, n_phases):
    """Return the answers as text: a table, warnings, and the files without an answer."""
    answered = [answer for answer in answers if answer.answered]
    parts = [_table(answered, n_phases)] if answered else []
    warned = [_message(answer, text) for answer in answered for text in answer.warnings]
    broken = [_message(answer, answer.reason) for answer in answers if not answer.answered]
    parts += ["\n".join(["warnings:", *warned])] if warned else []
    parts += ["\n".join([f"no answer for {len(broken)} of {len(answers)}:", *broken])] if broken else []
    return "\n\n".join(parts)


def _table(answers, n_phases):
    """Return the table of answers; below each row, the answer that is sure enough, and known compounds."""
    rows = pd.DataFrame([_row(answer, n_phases) for answer in answers])
    head, *lines = rows.to_string(index=False, justify="left").split("\n")
    parts = [head]
    for line, answer in zip(lines, answers, strict=True):
        parts += [line.rstrip(), f"  {answer.answer}"]
        if answer.compounds and n_phases:
            names = [f"{c['formula']} {space_group_symbol(c['space_group'])}" for c in answer.compounds]
            parts.append(f"  known compounds of about this composition: {', '.join(names)}")
    return "\n".join(parts)


def _message(answer, text):
    """Return a warning or a reason with the name of its file, once."""
    for file in answer.files:
        for name in (str(file), file.name, repr(str(file))):
            if text.startswith(f"{name}: "):
                return f"  {file}: {text.removeprefix(f'{name}: ')}"
    return f"  {answer.name}: {text}"


def _row(answer, n_phases):
    """Return the row of an answer in the table."""
    row = {
        "specimen": answer.name,
        "space group": f"{answer.space_group} {answer.symbol}",
        "probability": f"{answer.probability:.2f}",
        "crystal system": f"{answer.crystal_system} {answer.system_probability:.2f}",
    }
    if n_phases:
        row["phases that fit"] = phases_text(answer.phases)
    return row


def phases_text(phases):
    """Return the phases that fit as text: each mineral once, and no phase of a low probability."""
    fitting = {}
    for rank, phase in enumerate(phases):
        if phase["probability"] is None or phase["probability"] >= LEAST_SHOWN:
            fitting.setdefault(phase["mineral"] or rank, _phase_text(phase))
    return "; ".join(fitting.values()) or ("none sure" if phases else "")


def _phase_text(phase):
    """Return a phase as text."""
    symbol = space_group_symbol(phase["space_group"])
    name = f"{phase['mineral']} ({phase['formula']}, {symbol})"
    if not phase["mineral"]:
        name = f"{phase['formula']} ({symbol})"
    return name if phase["probability"] is None else f"{name} {phase['probability']:.2f}"
