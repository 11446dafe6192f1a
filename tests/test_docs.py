"""The pages under docs/ say what the code says."""

import json
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .beforehand import measured_beforehand

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


def test_the_page_of_options_is_what_the_code_says() -> None:
    """``python docs/make_options.py`` writes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "make_options.py"))["page"]()
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == made


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    named = re.findall(r"`((?:docs|deploy|benchmarks|search_spaces)/[\w./-]+)`", text)
    missing += [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert missing == []


def test_the_examples_from_python_run(tmp_path: Path) -> None:
    """One after the other, as somebody would type them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "all.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "all.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Slot(name='layer1.0.conv2'" in done.stdout
    assert "tensor(True)" in done.stdout
    assert "on the front" in done.stdout


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """Its cells one after the other; the guard is what a script needs, and a notebook does not."""
    cells = json.loads((ROOT / "docs" / "search.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    script = f"def main():\n{textwrap.indent(code, '    ')}\n\n\nif __name__ == '__main__':\n    main()\n"
    (tmp_path / "cells.py").write_text(script, encoding="utf-8")
    measured_beforehand(tmp_path / "results", "mixed_resnet20")
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report.html" in done.stdout
    assert done.stdout.count(" points") == 5
    assert "parameters" in done.stdout
