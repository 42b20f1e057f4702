"""Every Python snippet of README.md runs, from top to bottom, as pasted."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def test_snippets_run_from_top_to_bottom(tmp_path, monkeypatch):
    assert len(SNIPPETS) >= 6
    for folder in ("benchmarks", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for number, snippet in enumerate(SNIPPETS, start=1):
        exec(compile(snippet, f"README.md, snippet {number}", "exec"), namespace)
    assert namespace["table"].index.get_level_values(0).nunique() >= 4  # two models, diffraction only, prior
    assert (tmp_path / "training.checkpoint").exists()
