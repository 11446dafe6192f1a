"""The driver killed at 20 random moments: nothing lost, nothing twice. ``benchmarks/chaos.py`` has the longer form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.long
def test_a_driver_that_is_killed_twenty_times_loses_nothing() -> None:
    command = [sys.executable, "benchmarks/chaos.py", "--kills", "20", "--trials", "60", "--longest", "24"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 20
    assert found["ledgers_that_lost_a_line"] == found["architectures_twice"] == 0
    assert found["trials"] == found["finished"] == 60
