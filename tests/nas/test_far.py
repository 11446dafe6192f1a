"""A head without GPUs: latency is measured on the cluster's other node, which says of itself that it has one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.run import Run

from ..clusters import Nodes, nodes
from .test_newcomers import SPACE

pytestmark = [pytest.mark.slow, pytest.mark.long]
ROOT = Path(__file__).parent.parent.parent
DEVICE = "the far node's processor"
MARK = f"""from pathlib import Path
read = Path.read_text
said = "model name : {DEVICE}"
Path.read_text = lambda self, *a, **k: said if str(self) == "/proc/cpuinfo" else read(self, *a, **k)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A head of nothing, and a node with two cores, one GPU that it has not, and a processor of its own."""
    folder = tmp_path_factory.mktemp("far")
    (folder / "sitecustomize.py").write_text(MARK)
    with nodes(folder) as made:
        made.add_worker(2, 1, "--resources", '{"far": 1}', PYTHONPATH=str(folder))
        yield made


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPACE))
    return str(tmp_path / "small.yaml")


def far(cluster: Nodes, *arguments: str, status: int = 0, **environment: str) -> str:
    """What a driver says."""
    settings = {**cluster.environment, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "tests.far", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_what_needs_a_gpu_has_one_to_itself_on_the_node_that_has_it(cluster: Nodes, tmp_path: Path) -> None:
    said = far(cluster, "gpu", cluster.address, str(tmp_path), LAYERWISE_NAS_PATIENCE_S="7")
    found = json.loads(said.splitlines()[-1])
    assert found["ran"]["node"] == found["gpu_node"] != found["head"]
    assert found["ran"]["gpus"] == ["0"]
    assert found["refused"] == "BadInput: one line"
    assert found["failed"] == "ZeroDivisionError: as it was"
    assert found["settings"] == "7"
    assert found["waited"]["began"] >= found["held_until"] - 0.1
    assert "waiting for a node of the cluster that has 1 GPU and 1 CPU free, for 10 minutes at most" in found["said"]
    assert found["said"][0].startswith("measuring on ")
    assert found["died"].startswith("BadInput: a process on another node of the cluster ended before it was done: ")
    assert "\n" not in found["died"]
    assert found["none"].startswith("BadInput: no node of the cluster had 1 none_such free for 0 minutes: wait for")
    assert found["free"] == ["0"]


def test_tables_and_readings_come_from_the_node_as_they_are(cluster: Nodes, space: str, tmp_path: Path) -> None:
    found = json.loads(far(cluster, "measures", cluster.address, str(tmp_path), space).splitlines()[-1])
    ours, own = found["tables"]
    for table in (ours, own):
        assert table["exact"]
        assert table["finite"]
        assert table["slots"] > 2
        assert (table["device"], table["on"]) == (DEVICE, "cpu:fp32:b1")
    assert "made up" in own["doubts"]["latency_ms"]
    assert list(found["readings"]) == found["keys"]
    for reading in found["readings"].values():
        assert reading["latency_ms"]["ms"] > 0
        assert reading["latency_ms"]["doubt"] == "made up"
    assert (found["how"]["device"], found["how"]["latency_on"]) == (DEVICE, "cpu:fp32:b1")
    assert found["elsewhere"] == f"BadInput: latency is that of another, found was {DEVICE}"
    assert found["own"] == 3


def written(run: Path) -> dict[Path, tuple[bytes, int]]:
    files = [p for p in run.rglob("*") if p.is_file() and p.name != "lock"]
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_a_search_is_measured_there_and_gone_on_with_here(cluster: Nodes, space: str, tmp_path: Path) -> None:
    """Interrupted in its last measurement; without the cluster nothing is measured, and with it what was left is."""
    run, on_cluster = tmp_path / "run", ("--address", cluster.address)
    small = ("--no-references", "--repeats", "0", "--final", "0", "--sampler", "random", "--device", "cpu")
    question = ("--space", space, "--judge", "scratch", "--epochs", "1", "--trials", "2", *small)
    said = far(cluster, "cut", *question, "--output", str(tmp_path), "--name", "run", *on_cluster, status=130)
    assert "interrupted: trials that had ended are in the run's ledger" in said
    assert json.loads((run / "state" / "costs.json").read_text())["device"] == DEVICE
    assert how(run)["method"].startswith("its layers")
    assert how(run)["device"] == DEVICE
    assert Run.read(run).measured is None

    said = far(cluster, "search", "--resume", str(run))
    assert f"whole networks are not timed: latency is that of {DEVICE}" in said
    assert how(run)["method"].startswith("its layers")
    before = written(run)
    assert f"whole networks are not timed: latency is that of {DEVICE}" in far(cluster, "search", "--resume", str(run))
    assert written(run) == before

    assert "not timed" not in far(cluster, "search", "--resume", str(run), *on_cluster)
    assert how(run)["method"].startswith("whole network")
    assert how(run)["device"] == DEVICE
    measured, ledger = Run.read(run).measured, (run / "trials.jsonl").read_bytes()
    assert measured is not None
    assert measured["device"]["device"] == DEVICE
    assert len(measured["networks"]) > 1
    assert ledger.count(b"latency_ms") >= 2

    before = written(run)
    assert "nothing is left to do" in far(cluster, "search", "--resume", str(run))
    assert written(run) == before
    said = far(cluster, "search", "--resume", str(run), "--trials", "3")  # trains here, and times nothing here
    assert f"whole networks are not timed: latency is that of {DEVICE}" in said
    after = Run.read(run).measured
    assert after is not None
    assert (after["networks"], after["device"]) == (measured["networks"], measured["device"])
    assert (run / "trials.jsonl").read_bytes().startswith(ledger)


def how(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "best.yaml").read_text())["metrics"]["measured"]["latency_ms"]
    return found
