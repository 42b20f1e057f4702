"""Pages that are written from the package: its public names, and the cards of its trained models."""

from importlib import import_module
from pathlib import Path

import xtalsk

PUBLIC = {name for name in xtalsk.__all__ if not name.startswith("_")}
INTRODUCTION = """Every public name, by part of the package. ``from xtalsk import NAME`` works where nothing
else is said. Estimators also have the methods of scikit-learn, such as ``fit_transform``, ``set_params``,
``set_output`` and ``score``."""
OTHER_ROOMS = ["symmetry"]  # with functions that xtalsk itself does not offer


def names_of(room):
    """List the names of a room that xtalsk offers, and the others."""
    module = import_module(f"xtalsk.{room}")
    offered = [f"xtalsk.{name}" for name in sorted(xtalsk._PUBLIC.get(room, []), key=str.lower)]
    return offered, [f"xtalsk.{room}.{name}" for name in sorted(module.__all__) if name not in PUBLIC]


def api_page():
    """Return the page of all public names, reStructuredText."""
    lines = ["API", "===", "", INTRODUCTION, ""]
    for room in [*xtalsk._PUBLIC, *OTHER_ROOMS]:
        summary = import_module(f"xtalsk.{room}").__doc__.strip().splitlines()[0]
        title = f"xtalsk.{room}"
        lines += [title, "-" * len(title), "", summary, ""]
        for names, heading in zip(names_of(room), ("", f"``from xtalsk.{room} import NAME``:"), strict=True):
            if names:
                lines += [heading, "", ".. autosummary::", "   :toctree: generated", ""]
                lines += [*(f"   ~{name}" for name in names), ""]
    return "\n".join(lines)


def models_page():
    """Return the page of the packaged models, Markdown."""
    folder = Path(xtalsk.__file__).parent / "pretrained" / "models"
    cards = [xtalsk.load_pretrained(path.stem, return_card=True)[1] for path in sorted(folder.glob("*.json"))]
    names = ", ".join(f'`load_pretrained("{path.stem}")`' for path in sorted(folder.glob("*.json")))
    texts = [card.to_markdown().replace("\n## ", "\n### ").replace("# ", "## ", 1) for card in cards]
    return "\n".join(["# Packaged models\n", f"Loaded by {names}.\n", *texts])


def write_pages(folder):
    """Write ``api.rst`` and ``models.md`` into a folder, where they changed."""
    for name, text in {"api.rst": api_page(), "models.md": models_page()}.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
