"""Settings of the site. Build it with ``sphinx-build -W -n docs docs/_build``."""

import inspect
import re
import sys
import warnings
from pathlib import Path

import matplotlib
from docutils import nodes
from sphinx.addnodes import pending_xref

import xtalsk

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).parent))
import _pages

# Progress bars and known messages of the examples do not belong on the pages.
warnings.filterwarnings("ignore", message="IProgress not found")

project = "xtalsk"
author = "the xtalsk developers"
project_copyright = f"2026, {author}"
version = release = xtalsk.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb"]
templates_path = ["_templates"]

# Markdown pages
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3

# API
toc_object_entries_show_parents = "hide"
autosummary_generate = True
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "obj"
intersphinx_mapping = {}

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": "xtalsk",
    "within_subsection_order": "FileNameSortKey",
    "show_memory": False,
    "download_all_examples": False,
    "copyfile_regex": r".*GALLERY_HEADER\.rst",
}

# Code blocks: the button copies the commands without the prompts and the output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Theme
html_theme = "pydata_sphinx_theme"
html_title = "xtalsk"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
pages_without_sidebar = ["index", "results", "models", "limits", "glossary", "contributing", "changelog"]
html_sidebars = {name: [] for name in pages_without_sidebar}
html_theme_options = {
    "logo": {"text": "xtalsk"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}


def link_public_names(app, document):
    """Link code in the text that is a public name, such as `RadialProfile`, to its page of the API."""
    for node in list(document.findall(nodes.literal)):
        name = node.astext().removesuffix("()")
        if name in _pages.PUBLIC and not isinstance(
            node.parent, pending_xref | nodes.reference | nodes.title
        ):
            link = pending_xref(
                "",
                node.deepcopy(),
                refdomain="py",
                reftype="obj",
                reftarget=f"xtalsk.{name}",
                refdoc=app.env.docname,
            )
            node.replace_self(link)


def resolve_name(app, env, node, content):
    """Resolve names in docstrings: public names become links, parameters and other names become code."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].removeprefix("xtalsk.").removesuffix("()")
    first, _, rest = name.partition(".")
    if first in _pages.PUBLIC and node["reftarget"] == name:
        target = ".".join(["xtalsk", first, *filter(None, [rest])])
        found = env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)
        if found:
            return found
    return content if node.get("reftype") == "obj" else None


def skip_inherited(app, what, name, member, skip, options):
    """Leave out the methods that other packages and Python give to a class."""
    module = getattr(member, "__module__", None) or "xtalsk"
    is_foreign = module.split(".")[0] != "xtalsk" or inspect.ismethoddescriptor(member)
    return True if is_foreign or re.fullmatch("set_.*_request", name) else None


def escape_marks(app, what, name, obj, options, lines):
    """Escape characters of docstrings that are marks of reStructuredText: (*shape,), |F|², shape (n_,)."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")) and "`" not in line:
            line = re.sub(r"\*(?=\w+,)", r"\\*", line).replace("|F|", r"\|F\|")
            lines[number] = re.sub(r"(?<=\w)_(?=[,)])", r"\_", line)


def setup(app):
    """Write the pages of the API and of the models before the build, and connect the links."""
    _pages.write_pages(Path(app.srcdir))
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-docstring", escape_marks, priority=1)  # before numpydoc
    app.connect("doctree-read", link_public_names)
    app.connect("missing-reference", resolve_name)
