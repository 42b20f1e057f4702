"""A report as one HTML file, with figures inside."""

import base64
import html
import io
import warnings

from xtalsk._version import __version__
from xtalsk.cli._identify import load_model
from xtalsk.cli._table import phases_text
from xtalsk.utils._container import open_new

_STYLE = """body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
img{max-width:100%}table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}
.warning{color:#8a5a00}.broken{color:#a00000}"""


def write_report(path, answers):
    """Write the answers and a figure of each to an HTML file, which needs no other files."""
    head = "<tr><th>specimen</th><th>space group</th><th>crystal system</th><th>phases that fit</th></tr>"
    rows = "\n".join(_row(answer) for answer in answers)
    parts = "\n".join(_section(answer) for answer in answers)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>xtalsk identify</title><style>{_STYLE}</style></head><body>
<h1>Identification</h1>
<table>{head}
{rows}</table>
{parts}
<p>xtalsk {__version__}. Probabilities are those of the models; see their cards for data and limits.</p>
</body></html>
"""
    with open_new(path) as file:
        file.write(page.encode())


def _row(answer):
    """Return the row of an answer in the table."""
    if not answer.answered:
        return f"<tr><td>{html.escape(answer.name)}</td><td class=broken colspan=3>no answer</td></tr>"
    phases = html.escape(phases_text(answer.phases))
    return (
        f"<tr><td>{html.escape(answer.name)}</td>"
        f"<td>{answer.space_group} {html.escape(answer.symbol)} ({answer.probability:.2f})</td>"
        f"<td>{answer.crystal_system} ({answer.system_probability:.2f})</td><td>{phases}</td></tr>"
    )


def _section(answer):
    """Return the section of an answer: sentence, figure and warnings, or why there is no answer."""
    parts = [f"<h2>{html.escape(answer.name)}</h2>"]
    if not answer.answered:
        parts.append(f"<p class=broken>{html.escape(answer.reason)}</p>")
    else:
        parts += [f"<p>{html.escape(answer.answer)}</p>", _figure(answer)]
        parts += [f"<p class=warning>{html.escape(text)}</p>" for text in answer.warnings]
    return "\n".join(parts)


def _figure(answer):
    """Return the figure of an answer as an element of HTML; a remark if it cannot be drawn."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from xtalsk.inspection import IdentificationDisplay

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            display = IdentificationDisplay.from_estimator(load_model(answer.model), answer.row)
    except ValueError as error:  # such as pipelines of spots
        return f"<p>No figure: {html.escape(str(error))}</p>"
    picture = io.BytesIO()
    display.figure_.savefig(picture, format="png", dpi=150, bbox_inches="tight")
    plt.close(display.figure_)
    data = base64.b64encode(picture.getvalue()).decode()
    return f'<img alt="{html.escape(answer.name)}" src="data:image/png;base64,{data}">'
