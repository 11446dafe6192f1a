"""Faults, provoked for real: no memory, a full disk, a data set that can't be read, what resume refuses."""

import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from nas.command_line import main
from nas.front import pareto_front
from nas.question import asked
from nas.run import Run
from nas.run.copy import Mirror, require_writable
from nas.run.ledger import read_ledger
from nas.run.run import require_new
from search_spaces.checks import BadInput
from trainers import checkpoint
from trainers.cluster.connection import require_locked

from ..beforehand import measured_beforehand
from ..clusters import free_port
from ..disks import small_disk

ROOT = Path(__file__).parent.parent.parent
ALONE = ["--judge", "scratch", "--repeats", "0", "--final", "0"]  # the trials; other stages have their own tests
TINY = ["--epochs", "1", "--proxy-resolution", "16"]  # half a minute of scoring a trial becomes seconds
SMALL = [*ALONE, "--space", "mixed_resnet20", *TINY, "--no-references", "--sampler", "random"]

NO_MEMORY = """
import resource, sys, torch
from dataclasses import replace
from search_spaces import Architecture, Backbone
from trainers.data.digits_on_photos import load
from trainers.judges.base import Setting
from trainers.judges.scratch import Scratch
from trainers.recipe import Recipe

data = load(None, 64)
data = replace(data, validation=data.validation[:64], test=data.test[:64])
recipe = Recipe(epochs=1, images_per_epoch=384, batch=384)
target = Architecture(Backbone("resnet20", 10, 64))
judging = Scratch(Setting(data, recipe, 1.0, 64, "cpu", 1)).begin(target.to_dict(), None, 0)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + int(sys.argv[1]) * 2**20,) * 2)
report = judging.step()
print(report.micro_batches, report.status, report.reason, report.epoch, report.accuracy_by_epoch)
"""


def bad(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that bad input gets."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def launch(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "launch.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three trials."""
    output = measured_beforehand(tmp_path_factory.mktemp("results"), "mixed_resnet20")
    done = launch(*SMALL, "--trials", "3", "--output", str(output), "--name", "run", "--seed", "5")
    assert done.returncode == 0, done.stderr
    shutil.copytree(output / "run", output / "pristine")  # for tests that others must not have touched
    return output / "run"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("mebibytes", "parts", "fails"), [(8000, 1, False), (1200, 2, False), (300, 2, True)])
def test_without_memory_it_tries_once_more_with_half_the_micro_batch(mebibytes: int, parts: int, fails: bool) -> None:
    """A real limit on this process's memory: enough, enough for half of the batch, not enough for that either."""
    command = [sys.executable, "-c", NO_MEMORY, str(mebibytes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    micro_batches, status, *_ = done.stdout.split()
    assert int(micro_batches) == parts  # as the ledger will say
    assert status == ("failed" if fails else "finished"), done.stdout


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "made"),))

    torch.save({"training": Evil()}, tmp_path / "a.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoint.load(str(tmp_path / "a.pt"), torch.device("cpu"))
    assert not (tmp_path / "made").exists()


def test_checkpoints_are_written_whole_and_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    cpu = torch.device("cpu")
    assert checkpoint.load(str(folder / "a.pt"), cpu) is None
    for key in "ab":
        checkpoint.save(str(folder / f"{key}.pt"), {"x": torch.ones(3), "n": [1, 2]})
    assert checkpoint.load(str(folder / "a.pt"), cpu)["n"] == [1, 2]
    assert {p.name for p in folder.iterdir()} == {"a.pt", "b.pt"}
    checkpoint.delete_all(str(folder), {"a"})
    assert {p.name for p in folder.iterdir()} == {"b.pt"}
    checkpoint.delete_all(str(folder), {"b"})
    checkpoint.delete_all(str(folder), {"b"})
    assert not folder.exists()


def test_checkpoints_are_found_wherever_they_were_written(tmp_path: Path) -> None:
    """A folder's name may have what is a chain of file systems elsewhere; half-written ones go with the others."""
    cpu, folder = torch.device("cpu"), str(tmp_path / "x::y")
    for place in (folder, f"file://{tmp_path}/remote"):
        checkpoint.save(f"{place}/a.pt", {"n": 1})
        assert checkpoint.load(f"{place}/a.pt", cpu) == {"n": 1}
    Path(folder, ".a.pt.0123abcd.partial").write_bytes(b"half")
    checkpoint.move_all(f"file://{tmp_path}/remote", str(tmp_path / "moved"))
    assert checkpoint.load(str(tmp_path / "moved" / "a.pt"), cpu) == {"n": 1}
    checkpoint.delete_all(folder, {"a"})
    assert not Path(folder).exists()
    assert not (tmp_path / "remote").exists()


def test_a_storage_that_is_gone_has_no_checkpoint(tmp_path: Path) -> None:
    """The trial begins again, and says that it can't write one; it does not die."""
    (tmp_path / "store").write_text("no folder any more")
    assert checkpoint.load(str(tmp_path / "store" / "a.pt"), torch.device("cpu")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_checkpoint_on_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "128k") as disk:
        checkpoint.save(str(disk / "a.pt"), {"x": torch.ones(1000)})
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(str(disk / "a.pt"), {"x": torch.ones(50_000)})
        assert len(checkpoint.load(str(disk / "a.pt"), torch.device("cpu"))["x"]) == 1000
        assert [p.name for p in disk.iterdir()] == ["a.pt"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_stops_the_search_and_loses_nothing(run: Path, tmp_path: Path) -> None:
    """A results folder of its own file system, filled up but for a few trials; then there is room again."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        first = launch(*SMALL, "--trials", "1", "--output", str(disk), "--name", "run")
        assert first.returncode == 0, first.stderr
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
        (disk / "filler").write_bytes(b"\0" * (free - 40 * 1024))
        full = launch("--resume", str(disk / "run"), "--trials", "12")
        assert full.returncode == 2, full.stdout + full.stderr
        assert "No space left on device: the search stopped; no trial that had ended is lost" in full.stderr
        assert "Traceback" not in full.stdout + full.stderr
        before = read_ledger(disk / "run" / "trials.jsonl")
        assert 1 <= len(before) < 12
        (disk / "filler").unlink()
        again = launch("--resume", str(disk / "run"))
        assert again.returncode == 0, again.stdout + again.stderr
        after = read_ledger(disk / "run" / "trials.jsonl")
        assert after[: len(before)] == before
        assert len(after) == len({r.key for r in after}) == 12


@pytest.mark.slow
@pytest.mark.long
def test_extending_a_run_gives_what_a_longer_run_gives(run: Path) -> None:
    """3 trials, then 3 more, in a folder that was moved: the same architectures and accuracies as 6 at once."""
    moved = run.parent / "elsewhere" / "moved"
    moved.parent.mkdir()
    subprocess.run(["cp", "-r", str(run), str(moved)], check=True)
    done = launch("--resume", str(moved), "--trials", "6")
    assert done.returncode == 0, done.stderr
    whole = launch(*SMALL, "--trials", "6", "--output", str(run.parent), "--name", "six", "--seed", "5")
    assert whole.returncode == 0, whole.stderr
    extended, at_once = (read_ledger(r / "trials.jsonl") for r in (moved, run.parent / "six"))
    assert extended[:3] == read_ledger(run / "trials.jsonl")
    assert {(r.key, r.accuracy) for r in extended} == {(r.key, r.accuracy) for r in at_once}
    asked = yaml.safe_load((moved / "search.yaml").read_text())
    assert (asked["trials"], asked["planned"]) == (6, 3)
    assert [entry["trials"] for entry in asked["resumed"]] == [6]


@pytest.mark.slow
def test_what_resume_refuses(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--resume", str(run))
    assert "would not compare" in bad(*at, "--space", "spconv_layerwise", capsys=capsys)
    assert "would not compare" in bad(*at, "--budget", "1GFLOPs", capsys=capsys)
    assert "would not compare" in bad(*at, "--seed", "5", capsys=capsys)
    assert "start a new run for another" in bad(*at, "--sampler", "tpe", capsys=capsys)
    assert "can only grow, from 3; got 2" in bad(*at, "--trials", "2", capsys=capsys)
    assert "there is no search.yaml" in bad("--resume", str(tmp_path), capsys=capsys)
    assert "go on with it by --resume" in bad(*SMALL, "--output", str(run.parent), "--name", "run", capsys=capsys)
    ledger = run / "trials.jsonl"
    whole = ledger.read_text()
    try:
        ledger.write_text(whole.replace("{", "[", 1))
        assert "trials.jsonl, line 1: is damaged" in bad(*at, "--trials", "4", capsys=capsys)
    finally:
        ledger.write_text(whole)
    assert main([*at]) == 0  # a finished run: reported again, without Ray
    assert "nothing is left to do" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_can_not_write_one_run(run: Path) -> None:
    command = [sys.executable, "launch.py", "--resume", str(run), "--trials", "200"]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        lock, deadline = run / "state" / "lock", time.monotonic() + 60
        while f"process {writer.pid} " not in lock.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        second = launch("--resume", str(run))
        assert second.returncode == 2
        assert f"is being written by process {writer.pid} on " in second.stderr
        assert second.stderr.count("\n") == 1
    finally:
        writer.kill()
        writer.wait()


def test_a_run_that_had_not_begun_leaves_no_obstacle(tmp_path: Path) -> None:
    """Killed before it was written down what was asked: the name is free."""
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / "state" / "lock").touch()
    require_new(asked({"output": tmp_path, "name": "run"}))


def test_a_storage_that_can_not_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--storage /proc/x: can't be written" in bad(*SMALL, "--storage", "/proc/x", capsys=capsys)
    assert "--storage nosuch://x: can't be written" in bad(*SMALL, "--storage", "nosuch://x", capsys=capsys)


def test_a_copy_has_all_but_the_lock_and_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "checkpoints" / "run"  # a folder above may well have that name
    own = ("trials.jsonl", "state/costs.json", "front/1.yaml", "best.yaml")
    for name in (*own, "state/lock", "state/checkpoints-1/a.pt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    store = asked({"storage": "store"}).storage
    assert store == str(tmp_path / "store")  # trials run in other folders
    require_writable(store)
    mirror = Mirror(run, store)
    mirror.sync()
    copied = {p.relative_to(tmp_path / "store" / "run").as_posix() for p in (tmp_path / "store").rglob("*.*")}
    assert copied == set(own)
    (run / "trials.jsonl").write_text("more")
    (run / "front" / "1.yaml").rename(run / "front" / "2.yaml")
    (run / "best.yaml").unlink()
    mirror.sync()  # not again so soon
    assert (tmp_path / "store" / "run" / "trials.jsonl").read_text() == "trials.jsonl"
    mirror.sync(now=True)
    assert (tmp_path / "store" / "run" / "trials.jsonl").read_text() == "more"
    assert [p.name for p in (tmp_path / "store" / "run" / "front").iterdir()] == ["2.yaml"]
    assert not (tmp_path / "store" / "run" / "best.yaml").exists()
    assert mirror.problem is None


def test_an_image_that_is_truncated_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val"):
        for kind in ("a", "b"):
            folder = tmp_path / part / kind
            folder.mkdir(parents=True)
            Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "1.jpg")
            Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "2.jpg")
    broken = tmp_path / "train" / "b" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    at = ["--dataset", "imagefolder", "--data-root", str(tmp_path), "--output", str(tmp_path / "results")]
    assert "truncated" in bad(*SMALL, *at, capsys=capsys)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["TMPDIR=/tmp/" + "long" * 30, "RAY_TMPDIR=/proc/nothing", "HOME=/proc/nothing"])
def test_ray_that_can_not_start_is_one_line_and_leaves_no_folder(setting: str, tmp_path: Path) -> None:
    name, _, value = setting.partition("=")
    if value.startswith("/tmp"):
        Path(value).mkdir(exist_ok=True)
    settings = {**os.environ, "MPLCONFIGDIR": str(tmp_path), name: value}
    command = [sys.executable, "launch.py", *SMALL, "--output", str(tmp_path / "results"), "--name", "x"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("launch.py: Ray can't start on this machine: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results" / "x").exists()


class _Unlocked(BaseHTTPRequestHandler):
    """A dashboard that answers whoever asks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_proxy_does_not_answer_for_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is dead, or refuses, made an unlocked cluster look locked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Unlocked) as dashboard:
        threading.Thread(target=dashboard.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(BadInput, match="its dashboard answers without a token"):
            require_locked("somewhere:6379", f"127.0.0.1:{dashboard.server_port}")
        dashboard.shutdown()


@pytest.mark.slow
@pytest.mark.long
def test_an_installed_package_runs_where_others_have_its_names(tmp_path: Path) -> None:
    """Installed as a wheel is, and started from a folder that has ``trainers`` and ``search_spaces`` of its own."""
    site, here = tmp_path / "site", tmp_path / "here"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    subprocess.run([*pip, str(source)], check=True, timeout=200)
    for package in ("trainers", "search_spaces"):
        (here / package).mkdir(parents=True)
        (here / package / "__init__.py").write_text("raise RuntimeError('not ours')")
    settings = {**os.environ, "PYTHONPATH": str(site)}
    output = measured_beforehand(tmp_path / "results", "mixed_resnet20")
    question = [*SMALL, "--trials", "2", "--budget", "20MFLOPs", "--output", str(output), "--name", "x"]
    for start in (["-m", "launch"], [str(site / "launch.py")]):
        command = [sys.executable, *start, *question]
        done = subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(tmp_path / "results" / "x")


@pytest.mark.slow
def test_other_data_is_refused_on_resume(run: Path, tmp_path: Path) -> None:
    """The fingerprint in search.yaml is checked before anything is trained."""
    copy = tmp_path / "copy"
    shutil.copytree(run.parent / "pristine", copy)
    text = (copy / "search.yaml").read_text(encoding="utf-8")
    digest = yaml.safe_load(text)["data"]["digest"]
    (copy / "search.yaml").write_text(text.replace(digest, "f" * 32), encoding="utf-8")
    done = launch("--resume", str(copy), "--trials", "4")
    assert done.returncode == 2
    assert f"the data set is not the one that the run began with: digest {'f' * 32} then, {digest} now" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_run_of_a_gpu_machine_is_reported_here_and_not_gone_on_with(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.parent / "pristine", copy)
    text = (copy / "search.yaml").read_text(encoding="utf-8")
    changed = text.replace("device: cpu", "device: cuda").replace("gpus_per_trial: 0.0", "gpus_per_trial: 0.5")
    (copy / "search.yaml").write_text(changed, encoding="utf-8")
    settings = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for more, status, says in (([], 0, "nothing is left to do"), (["--trials", "4"], 2, "this run train on GPUs")):
        command = [sys.executable, "launch.py", "--resume", str(copy), *more]
        done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert says in done.stdout + done.stderr
        assert (copy / "search.yaml").read_text(encoding="utf-8") == changed


@pytest.mark.slow
def test_a_front_has_no_files_of_an_earlier_one(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.parent / "pristine", copy)
    (copy / "front" / "07-0123456789abcdef.yaml").write_text("of an earlier front", encoding="utf-8")
    assert launch("--resume", str(copy), "--trials", "4").returncode == 0
    front = pareto_front(Run.read(copy).candidates)
    assert sorted(p.name for p in (copy / "front").iterdir()) == [f"{i:02d}-{r.key}.yaml" for i, r in enumerate(front)]
