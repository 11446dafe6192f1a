"""Real clusters on this machine: who may join, a node that dies, results in a second place."""

import itertools
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nas.run.ledger import read_ledger

from ..clusters import RAY, Nodes, jobs_status, kill_node, nodes

pytestmark = [pytest.mark.slow, pytest.mark.long]
ROOT = Path(__file__).parent.parent.parent
BACKBONE = {"name": "resnet20", "classes": 10, "resolution": 24}
CHOICES = [{"operator": "vanilla"}, {"operator": "spconv", "alpha": ["1/4", "1/2", 1], "groups": [1, 2]}]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A question whose costs are quickly measured."""
    space = tmp_path_factory.mktemp("space") / "small.yaml"
    choices = {"backbone": BACKBONE, "exclude": ["conv1", "layer1.*", "layer2.*"], "choices": CHOICES}
    space.write_text(yaml.safe_dump(choices))
    return [
        "--space",
        str(space),
        "--no-references",
        "--judge",
        "scratch",
        "--repeats",
        "0",
        "--final",
        "0",
        "--sampler",
        "random",
    ]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory):
    with nodes(tmp_path_factory.mktemp("locked")) as cluster:
        yield cluster


def launch(cluster: Nodes, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "launch.py", *arguments, "--address", cluster.address]
    settings = {**cluster.environment, **environment}
    return subprocess.Popen(
        command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def refused(process: "subprocess.Popen[str]", says: str) -> None:
    """One line, exit status 2."""
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 2, output
    last = output.strip().splitlines()[-1]
    assert last.startswith("launch.py: ")
    assert says in last, output


def test_the_job_api_wants_a_token(locked: Nodes) -> None:
    assert jobs_status(locked.dashboard) == 401


def test_a_search_without_token_mode_does_not_join(locked: Nodes, small: list[str], tmp_path: Path) -> None:
    process = launch(locked, *small, "--output", str(tmp_path), RAY_AUTH_MODE="disabled")
    refused(process, "--address needs token authentication: RAY_AUTH_MODE must be token, it is disabled")
    assert not list(tmp_path.glob("[!.]*"))


def test_a_wrong_token_does_not_join(locked: Nodes, small: list[str], tmp_path: Path) -> None:
    process = launch(locked, *small, "--output", str(tmp_path), RAY_AUTH_TOKEN="0" * 64)
    refused(process, "can't be joined")
    assert not list(tmp_path.glob("[!.]*"))


def test_an_open_cluster_is_refused_unless_told(small: list[str], tmp_path: Path) -> None:
    with nodes(tmp_path, authenticated=False, head_cpus=1) as cluster:
        assert jobs_status(cluster.dashboard) == 200
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        output = str(tmp_path / "results")
        refused(launch(cluster, *small, "--output", output, **token), "its dashboard answers without a token")
        told = launch(
            cluster,
            *small,
            "--trials",
            "1",
            "--epochs",
            "1",
            "--output",
            output,
            "--name",
            "told",
            "--allow-unauthenticated",
        )
        said, _ = told.communicate(timeout=240)
        assert told.returncode == 0, said


def test_a_search_is_a_job_of_the_cluster(small: list[str], tmp_path: Path) -> None:
    """As docs/cluster.md submits it: the driver runs on the head, which has no CPUs, the trials on the other node."""
    question = [*small, "--trials", "2", "--epochs", "1", "--address", "auto", "--output", str(tmp_path / "results")]
    with nodes(tmp_path) as cluster:
        cluster.add_worker(1)
        submit = [RAY, "job", "submit", "--address", f"http://{cluster.dashboard}", "--working-dir", "."]
        driver = [sys.executable, "launch.py", *question, "--name", "job"]
        job = [*submit, "--", *driver]
        done = subprocess.run(job, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2 candidates finished" in done.stdout
        assert (tmp_path / "results" / "job" / "best.yaml").is_file()
        nobody = {**cluster.environment, "RAY_AUTH_TOKEN": "0" * 64}
        refused = subprocess.run(job, cwd=ROOT, env=nobody, capture_output=True, text=True, timeout=120)
        assert refused.returncode != 0


def test_a_trial_of_a_killed_node_goes_on_elsewhere(locked: Nodes, small: list[str], tmp_path: Path) -> None:
    """Three nodes of one CPU, a head of none; one dies in the middle of a trial."""
    workers = [locked.add_worker(1) for _ in range(3)]
    store = tmp_path / "store"
    process = launch(
        *(locked, *small, "--trials", "6", "--epochs", "6"),
        *("--output", str(tmp_path), "--name", "run", "--storage", str(store)),
    )
    checkpoints = store / "run" / "state"
    deadline = time.monotonic() + 240
    while len(list(checkpoints.glob("checkpoints-*/*.pt"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    waiting = {path.stem for path in checkpoints.glob("checkpoints-*/*.pt")}
    assert len(waiting) == 3
    killed_at = time.time()
    kill_node(workers[0])
    output, _ = process.communicate(timeout=420)
    assert process.returncode == 0, output
    records = read_ledger(tmp_path / "run" / "trials.jsonl")
    assert [r.status for r in records] == ["finished"] * 6
    assert len({r.key for r in records}) == 6
    moved = [r for r in records if len(r.starts) > 1]
    assert len(moved) == 1
    assert moved[0].key in waiting
    assert len(moved[0].accuracy_by_epoch) == 6
    assert 0 < moved[0].starts[1] - killed_at < 15
    assert "its process died; it goes on in another" in output
    copied = {p.relative_to(store / "run") for p in (store / "run").rglob("*") if p.is_file()}
    here = {p.relative_to(tmp_path / "run") for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert copied == here - {Path("state/lock")}
    assert (store / "run" / "best.yaml").read_bytes() == (tmp_path / "run" / "best.yaml").read_bytes()
    asked = yaml.safe_load((tmp_path / "run" / "search.yaml").read_text())
    assert asked["storage"] == str(store)


def test_a_cluster_with_gpus_trains_on_them_and_a_failure_of_all_stops_it(small: list[str], tmp_path: Path) -> None:
    """A node says that it has a GPU, and has none: rightly decided, and then each trial fails alike."""
    with nodes(tmp_path) as cluster:
        cluster.add_worker(2, gpus=1)
        process = launch(cluster, *small, "--trials", "40", "--output", str(tmp_path), "--name", "gpus")
        output, _ = process.communicate(timeout=240)
    assert "40 trials (40 to be proposed) train on the cluster's GPUs, 0.25 of a GPU" in output
    assert process.returncode == 2, output
    last = output.strip().splitlines()[-1]
    assert re.match(r"launch.py: the search stopped: trials' processes died \d+ times without a report: ", last)
    assert "--resume" in last
    assert output.count("its process died") <= 13  # one trial's restarts, not those of each
    assert read_ledger(tmp_path / "gpus" / "trials.jsonl") == []


def test_a_cluster_that_grows_is_used_as_it_is(small: list[str], tmp_path: Path) -> None:
    """It begins with one core; a second node joins in the middle, and trials run side by side from then on."""
    with nodes(tmp_path) as cluster:
        cluster.add_worker(1)
        question = [*small, "--trials", "6", "--epochs", "8", "--output", str(tmp_path), "--name", "grown"]
        process = launch(cluster, *question)
        ledger, deadline = tmp_path / "grown" / "trials.jsonl", time.monotonic() + 240
        while not ledger.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        cluster.add_worker(1)
        output, _ = process.communicate(timeout=420)
    assert process.returncode == 0, output
    assert "train on the cluster's CPUs, 1 CPU core each: 1 at once" in output
    records = sorted(read_ledger(ledger), key=lambda r: r.started)
    assert [r.status for r in records] == ["finished"] * 6
    side_by_side = [a.ended > b.started + 1 for a, b in itertools.pairwise(records)]
    assert not side_by_side[0]
    assert any(side_by_side)
