"""What the README shows is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .beforehand import measured_beforehand

ROOT = Path(__file__).parent.parent


OWN = """
from torch import nn

def make(num_classes=10):
    convs = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
"""


@pytest.mark.slow
def test_the_commands_for_ones_own_network(tmp_path: Path) -> None:
    """On small images, and without the search itself: that takes long."""
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own network")
    commands = re.findall(r"^    python (-m launch .*)$", section.partition("\n## ")[0], flags=re.MULTILINE)
    assert len(commands) == 4
    (tmp_path / "my_nets.py").write_text(OWN, encoding="utf-8")
    for command in commands:
        command = command.replace("95%", "99.99%")  # of so small an image a detector's heads cost nearly all
        words = [*command.split(), "--resolution", "32", "--dry-run", "--trials", "2"]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "architectures: 10^" in done.stdout


@pytest.mark.slow
def test_a_search_from_python(tmp_path: Path) -> None:
    """Both examples, one after the other, in an empty folder."""
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From Python")
    first, second = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], flags=re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    last_line = "print(type(network).__name__, len(more.candidates))\n"
    (tmp_path / "example.py").write_text(first + second + last_line, encoding="utf-8")
    measured_beforehand(tmp_path / "results", "mixed_resnet20")
    command = [sys.executable, "example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *front, run, last = done.stdout.splitlines()
    assert all(re.fullmatch(r"\d+\.\d% \d+ \d+\.\d+", line) for line in front)
    assert 1 <= len(front) <= 4
    assert run.endswith(f"[{', '.join(['<Status.FINISHED: ' + repr('finished') + '>'] * 6)}]")
    assert last == "ResNet 6"
