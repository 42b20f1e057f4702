"""The code of the guide gives the output that its pages show, and the page of the API has every name."""

import contextlib
import doctest
import io
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

import xtalsk
from xtalsk.cli import main

DOCS = Path(__file__).parents[1] / "docs"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
PAGES = [page for page in [*DOCS.glob("*.md"), *DOCS.glob("guide/*.md")] if ">>> " in page.read_text("utf-8")]


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request, tmp_path, monkeypatch):
    """A page as text, in a folder with the files that it offers."""
    text = request.param.read_text(encoding="utf-8")
    for name, target in re.findall(r"\{download\}`(\S+) <([^>]+)>`", text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(request.param.parent / target, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return text


def test_code_gives_the_output_on_the_page(page):
    blocks = re.findall(r"^```python\n(>>> .*?)^```$", page, re.M | re.S)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "page", None, 0)
    report = []
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append).failed == 0, "".join(report)
    for command, output in re.findall(r"^```console\n\$ xtalsk (.*?)\n(.*?)^```$", page, re.M | re.S):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(shlex.split(command)) == 0
        assert printed.getvalue().split() == output.split()


def test_pages_are_in_the_guide():
    index = (DOCS / "guide" / "index.md").read_text(encoding="utf-8")
    assert {page.stem for page in DOCS.glob("guide/*.md")} - {"index"} <= set(index.split())


def test_every_public_name_is_on_the_page_of_the_api():
    listed = runpy.run_path(str(DOCS / "_pages.py"))["api_page"]().split()
    assert {f"~xtalsk.{name}" for name in xtalsk.__all__ if name != "__version__"} <= set(listed)
