"""What the README shows is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_search_from_python(tmp_path: Path) -> None:
    """Both examples, one after the other, in an empty folder."""
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From Python")
    first, second = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], flags=re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    last_line = "print(type(network).__name__, len(more.candidates))\n"
    (tmp_path / "example.py").write_text(first + second + last_line, encoding="utf-8")
    command = [sys.executable, "example.py"]
    done = subprocess.run(command, cwd=tmp_path, env=None, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *front, run, last = done.stdout.splitlines()
    assert all(re.fullmatch(r"\d+\.\d% \d+ \d+\.\d+", line) for line in front)
    assert 1 <= len(front) <= 4
    assert run.endswith(f"[{', '.join(['<Status.FINISHED: ' + repr('finished') + '>'] * 6)}]")
    assert last == "ResNet 6"
