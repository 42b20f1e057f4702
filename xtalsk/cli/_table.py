"""Tables of answers for a terminal."""

import pandas as pd


def table_of(answers, n_phases):
    """Return the answers as text: a table, warnings, and the files without an answer."""
    rows = [_row(answer, n_phases) for answer in answers if answer.answered]
    parts = [pd.DataFrame(rows).to_string(index=False, justify="left")] if rows else []
    told = [f"  {a.name}: {text}" for a in answers if a.answered for text in a.warnings]
    broken = [f"  {a.name}: {a.reason}" for a in answers if not a.answered]
    parts += ["\n".join(["warnings:", *told])] if told else []
    parts += ["\n".join([f"no answer for {len(broken)} of {len(answers)}:", *broken])] if broken else []
    return "\n\n".join(parts)


def _row(answer, n_phases):
    """Return the row of an answer in the table."""
    row = {
        "specimen": answer.name,
        "space group": f"{answer.space_group} {answer.symbol}",
        "probability": f"{answer.probability:.2f}",
        "crystal system": f"{answer.crystal_system} {answer.system_probability:.2f}",
    }
    if n_phases:
        row["phases that fit"] = "; ".join(phase_text(phase) for phase in answer.phases)
    return row


def phase_text(phase):
    """Return a phase as text."""
    name = phase["mineral"] or phase["formula"]
    formula = f" ({phase['formula']})" if phase["mineral"] else ""
    probability = "" if phase["probability"] is None else f" {phase['probability']:.2f}"
    return f"{name}{formula}{probability}"
