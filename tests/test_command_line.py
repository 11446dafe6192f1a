"""The user's own command: bad input is one clear line and exit status 2, good input a whole run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from nas.command_line import main
from nas.run.ledger import read_ledger
from search_spaces import build, load_architecture

ROOT = Path(__file__).parent.parent
SMALL = ["--space", "mixed_resnet20", "--epochs", "1", "--no-references"]


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and standard error of the command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--space", "spconv_layerwize"], "unknown space 'spconv_layerwize': did you mean 'spconv_layerwise'"),
        (["--budget", "2.5GFLOP/s"], "got '2.5GFLOP/s'"),
        (["--budget", "-1MFLOPs"], "got '-1MFLOPs'"),
        (["--budget=-1MFLOPs"], "got '-1MFLOPs'"),
        (
            ["--space", "mixed_resnet20", "--budget", "1KFLOPs"],
            "no architecture of mixed_resnet20 meets the budget 1KFLOPs",
        ),
        (["--space", "absent.yaml"], "absent.yaml: can't be read"),
        (["--dataset", "cifar10"], "cifar10 needs --data-root"),
        (["--dataset", "cifar10", "--data-root", "/absent"], "--data-root /absent: there is no such folder"),
        (["--dataset", "imagefolder", "--data-root", "/absent"], "there is no folder train/"),
        (["--dataset", "mnist"], "unknown data set 'mnist'"),
        (["--sampler", "tpee"], "unknown sampler 'tpee': did you mean 'tpe'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--output", "/proc/results"], "the results folder '/proc/results' can't be written"),
        (["--name", "../outside"], "--name must be a plain folder name"),
        (["--trials", "0"], "--trials must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--trials", "many"], "invalid int value: 'many'"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--proxy-width", "2"], "--proxy-width must be in (0, 1], got 2"),
        (["--proxy-resolution", "4"], "--proxy-resolution must be at least 16"),
        (["--cpus-per-trial", "0"], "--cpus-per-trial must be above 0"),
        (["--buget", "1GFLOPs"], "unrecognized arguments: --buget"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, error = run(*arguments, capsys=capsys)
    assert status == 2
    assert says in error
    assert error.count("\n") == 1
    assert not list(Path("results").glob("[!.]*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("arguments", [["--gpus-per-trial", "1"], ["--device", "cuda"]])
def test_a_gpu_that_is_not_there_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, error = run(*arguments, capsys=capsys)
    assert (status, error.count("\n")) == (2, 1)
    assert "this machine has no GPU that torch can use" in error


def test_a_wrong_space_yaml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    backbone = {"name": "resnet20", "classes": 10, "resolution": 32}
    for document, says in (
        ({"backbone": backbone, "choises": []}, "unknown key 'choises'"),
        ({"backbone": backbone, "choices": [{"operator": "compconv", "depth": [9]}]}, "depth = 9 fits no slot"),
    ):
        mine.write_text(yaml.safe_dump(document))
        status, error = run("--space", str(mine), capsys=capsys)
        assert (status, error.count("\n")) == (2, 1)
        assert says in error


def test_a_run_that_exists_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    status, error = run(*SMALL, "--output", str(tmp_path), "--name", "mine", capsys=capsys)
    assert (status, error.count("\n")) == (2, 1)
    assert "exists: go on with it by --resume" in error


def test_list_spaces_and_dry_run_train_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-spaces"]) == 0
    assert "spconv_layerwise" in capsys.readouterr().out
    assert main([*SMALL, "--budget", "20MFLOPs", "--dry-run", "--output", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for part in ("layer1.0.conv1", "reachable FLOPs", "reachable Params", "the nearest choice", "20 candidates"):
        assert part in out
    assert [p.name for p in tmp_path.iterdir()] == [".cache"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose cost table is measured already, so that the runs below share it."""
    output = tmp_path_factory.mktemp("results")
    assert main([*SMALL, "--dry-run", "--output", str(output)]) == 0
    return output


def test_a_whole_run(cache: Path) -> None:
    """Real Ray, real Optuna, real training: the ledger, the front and best.yaml keep the budget."""
    budgets = ["--budget", "20MFLOPs", "--budget", "120KParams"]
    command = [
        sys.executable,
        "launch.py",
        *SMALL,
        *budgets,
        "--trials",
        "4",
        "--output",
        str(cache),
        "--name",
        "whole",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray dashboard: http://127.0.0.1:" in done.stdout
    records = read_ledger(cache / "whole" / "trials.jsonl")
    assert [r.status for r in records] == ["finished"] * 4
    assert len({r.key for r in records}) == 4
    assert max(r.flops for r in records) <= 20e6
    assert max(r.params for r in records) <= 120e3
    best = load_architecture(cache / "whole" / "best.yaml")
    assert best.key == min(records, key=lambda r: (-r.accuracy, r.flops)).key
    assert sum(p.numel() for p in build(cache / "whole" / "best.yaml").parameters()) <= 120e3
    document = yaml.safe_load((cache / "whole" / "best.yaml").read_text())
    assert set(document) == {"space", "backbone", "layers", "metrics", "budget", "training", "provenance"}
    assert document["metrics"]["measured"]["latency_ms"]["method"] == "whole network"
    left = {p.name for p in (cache / "whole").iterdir()}
    assert left == {"best.yaml", "front", "pareto.png", "search.yaml", "state", "trials.jsonl"}
    recount = subprocess.run([sys.executable, "benchmarks/recount.py", str(cache / "whole")], cwd=ROOT, check=False)
    assert recount.returncode == 0


@pytest.mark.slow
def test_ctrl_c_exports_what_is_finished(cache: Path) -> None:
    """Ctrl-C as a terminal sends it, to the whole process group, once two trials are in the ledger."""
    command = [sys.executable, "launch.py", *SMALL, "--trials", "500", "--output", str(cache), "--name", "stopped"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    ledger = cache / "stopped" / "trials.jsonl"
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and not (ledger.exists() and len(ledger.read_text().splitlines()) >= 2):
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert 2 <= len(read_ledger(ledger)) < 500
    assert load_architecture(cache / "stopped" / "best.yaml")
