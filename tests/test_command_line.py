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
from nas.cost.flops import count_params
from nas.report.writing import DRAWN
from nas.run import Run
from search_spaces import build, load_architecture

from .beforehand import measured_beforehand

ROOT = Path(__file__).parent.parent
ALONE = ["--judge", "scratch", "--repeats", "0", "--final", "0"]  # the trials; other stages have their own tests
TINY = ["--epochs", "1", "--proxy-resolution", "16"]  # half a minute of scoring a trial becomes seconds
SMALL = [*ALONE, "--space", "mixed_resnet20", *TINY, "--no-references"]


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and standard error of the command in this process."""
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own way out
        status = int(str(ended.code))
    return status, capsys.readouterr().err


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
        (["--dataset", "emnist"], "unknown data set 'emnist'"),
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
        (["--name", "a::b"], "--name must be a plain folder name"),
        (["--judge", "scrach"], "unknown judge 'scrach': did you mean 'scratch'"),
        (["--stop", "never"], "unknown stopping rule 'never'"),
        (["--resume", "absent"], "absent: there is no search.yaml; name the folder of a run"),
        (["--resume", "absent", "--dry-run"], "--resume: --dry-run goes without it"),
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
    (tmp_path / "mine" / "notes.txt").touch()
    status, error = run(*SMALL, "--output", str(tmp_path), "--name", "mine", capsys=capsys)
    assert (status, error.count("\n")) == (2, 1)
    assert "exists: go on with it by --resume" in error


def test_list_spaces_and_dry_run_train_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-spaces"]) == 0
    assert "spconv_layerwise" in capsys.readouterr().out
    assert main([*SMALL, "--budget", "50%", "--dry-run", "--output", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "within 50% (20.277568 MFLOPs)" in out
    parts = (
        "layer1.0.conv1",
        "reachable FLOPs",
        "reachable Params",
        "ms, cpu:fp32:b1 on ",
        "predicted to ± ",
        "the nearest choice",
        "candidates)",
        "final stage",
    )
    for part in parts:
        assert part in out
    assert "Run results" not in out
    assert str(tmp_path) not in out  # no run is made, so none is named
    doubted = "can't be trusted" in out  # on a busy machine: such a table is not kept
    assert [p.name for p in tmp_path.iterdir()] == ([] if doubted else [".cache"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["--list-spaces"],
        ["--space", "spconv_layerwize"],
        ["--buget", "1GFLOPs"],
        ["--sampler", "tpee"],
        ["--resume", "absent", "--seed", "3"],
        ["--name", "tests", "--output", "."],
    ],
)
def test_the_door_is_light(arguments: list[str]) -> None:
    """What needs no search imports nothing that only a search needs: torch and Ray take seconds and 1 GB."""
    code = (
        "import sys; from nas.command_line import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'optuna', 'numpy', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "peak = open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]\n"
        "print(sorted(heavy), int(peak) // 1024)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy, _, mebibytes = done.stdout.splitlines()[-1].rpartition(" ")
    assert heavy == "[]"
    assert int(mebibytes) < 200


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_any_output_can_be_printed_to(encoding: str) -> None:
    """α, ×, ² and → in plain letters where the output has no others, and under a locale that is not UTF-8."""
    settings = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "PYTHONUTF8": "0",
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
    }
    command = [sys.executable, "launch.py", "--list-spaces"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.decode(encoding).split())
    assert ("SPConv's α and" if encoding == "utf-8" else "SPConv's alpha and") in said


def test_markup_in_a_name_is_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a[bold]b[" / "x"
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    status, error = run(*SMALL, "--output", str(folder.parent), "--name", "x", capsys=capsys)
    assert status == 2
    assert "a[bold]b[" in error


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose cost table is measured already, so that the runs below share it."""
    return measured_beforehand(tmp_path_factory.mktemp("results"), "mixed_resnet20")


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
    assert "4 trials (4 to be proposed) train on this machine's CPUs, 1 CPU core each: " in done.stdout
    assert "Ray dashboard: http://127.0.0.1:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(cache)) + 40  # a pipe: only paths may be longer
    assert "…" not in done.stdout.replace("s3://…", "")
    whole = Run.read(cache / "whole")
    records = whole.candidates
    assert all(r.finished for r in records)
    assert len({r.key for r in records}) == len(records) == 4
    assert max(r.costs["flops"] for r in records) <= 20e6
    assert max(r.costs["params"] for r in records) <= 120e3
    best = load_architecture(cache / "whole" / "best.yaml")
    assert best.key in {r.key for r in records}
    assert count_params(build(cache / "whole" / "best.yaml")) <= 120e3
    document = yaml.safe_load((cache / "whole" / "best.yaml").read_text())
    assert set(document) == {"space", "backbone", "layers", "metrics", "budget", "training", "provenance"}
    assert document["metrics"]["measured"]["latency_ms"]["method"] == "whole network, in turn with vanilla"
    left = {p.name for p in (cache / "whole").iterdir()}
    assert left == {"best.yaml", "front", "search.yaml", "state", "tensorboard", "trials.jsonl", *DRAWN}
    assert (document["training"]["classes"], document["training"]["dataset"]) == (10, "cifar10")
    assert document["provenance"]["id"] == whole.id
    recount = subprocess.run([sys.executable, "benchmarks/recount.py", str(cache / "whole")], cwd=ROOT, check=False)
    assert recount.returncode == 0
    nothing_changes_without_anything_to_do(cache / "whole")
    whole_networks_alone_are_measured_again(cache / "whole")


@pytest.mark.slow
def test_a_whole_run_with_an_odd_name_into_an_output_of_few_letters(cache: Path) -> None:
    """Markup, mathematics and a slash-like bracket in a name; references with α; nothing of it ends in a traceback."""
    name = "[bold]a$_$ [red]b"
    plain = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    question = [*SMALL[:-1], "--trials", "1", "--output", str(cache), "--name", name, "--budget", "20MFLOPs"]
    for arguments in (question, ["--resume", str(cache / name)]):
        command = [sys.executable, "launch.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **plain}, capture_output=True, timeout=240, check=False
        )
        said = done.stdout.decode("ascii")
        assert done.returncode == 0, said + done.stderr.decode()
        assert name in said
        assert "SPConv alpha=" in said  # whichever of them is not the best: that one is called so
        assert done.stderr == b""
        assert ("it learns too little" in " ".join(said.split())) == (arguments is question)  # one epoch
    assert (cache / name / "pareto.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_no_search(cache: Path) -> None:
    """``launch.py … | head -1``."""
    question = [*SMALL, "--trials", "2", "--output", str(cache), "--name", "piped", "--budget", "20MFLOPs"]
    process = subprocess.Popen([sys.executable, "launch.py", *question], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=240)
    assert len(Run.read(cache / "piped").candidates) == 2
    assert (cache / "piped" / "best.yaml").is_file()


def nothing_changes_without_anything_to_do(folder: Path) -> None:
    """No latency is measured again, no file is written again, but for the lock that says who looks."""

    def contents() -> dict[str, tuple[bytes, int]]:
        files = [p for p in folder.rglob("*") if p.is_file() and p.name != "lock"]
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

    before = contents()
    command = [sys.executable, "launch.py", "--resume", str(folder), "--trials", "4"]  # as many as it has
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left to do" in done.stdout
    assert contents() == before


def whole_networks_alone_are_measured_again(folder: Path) -> None:
    """``--resume RUN --remeasure``; the costs, by which candidates were proposed, stay. What it said is in the log."""
    measured, kept = Run.read(folder).measured, [folder / "trials.jsonl", folder / "state" / "costs.json"]
    before = [p.read_bytes() for p in kept]
    assert measured is not None
    command = [sys.executable, "launch.py", "--resume", str(folder), "--remeasure", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    again = Run.read(folder).measured
    assert again is not None
    assert again["networks"].keys() == measured["networks"].keys()
    assert all(found != measured["networks"][key] for key, found in again["networks"].items())
    assert [p.read_bytes() for p in kept] == before
    hurried = "latencies can't be trusted"  # as tests measure
    assert hurried in (folder / "state" / "search.log").read_text().splitlines()[-2]


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
    assert 2 <= len(Run.read(cache / "stopped").candidates) < 500
    assert load_architecture(cache / "stopped" / "best.yaml")
