"""A run's folder: made once, read by anyone, written by one; its files whole or not at all; no other run's."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from nas.front import pareto_front
from nas.metrics import METRICS, OBJECTIVES
from nas.question import asked
from nas.record import FORMAT, Record
from nas.result.found import Found
from nas.result.measured import Measured
from nas.result.tables import print_results
from nas.run import Run
from nas.run.ledger import Ledger
from nas.run.run import require_new
from nas.searching import move_checkpoints
from nas.watch.watch import Watch
from search_spaces.checks import BadInput
from trainers.report import Status
from trainers.whole_file import write_whole

from ..disks import small_disk

ROOT = Path(__file__).parent.parent.parent
ABOUT = {"backbone": {"name": "resnet20"}, "data": {"classes": 10}}
STATE = {"space": {"description": "small"}, "costs": {"rest": {}, "slots": {}, "device": "none"}}


def question(output: Path, **changes: object):
    return asked({"trials": 3, "device": "cuda", "output": output, "name": "run", **changes})


def made(output: Path, **changes: object) -> Run:
    with Run.create(question(output, **changes), ABOUT, STATE) as run:
        return run


def record(name: str) -> Record:
    costs = {"flops": 1, "params": 1, "latency_ms": 1.0}
    return Record(name=name, key=name, status=Status.FINISHED, architecture={}, costs=costs, accuracy=0.5, seed=0)


def test_a_run_is_read_back(tmp_path: Path) -> None:
    run = made(tmp_path, budget="1GFLOPs", data_root=str(tmp_path / "data"))
    Ledger.open(run.ledger_file).append(record("0001"))
    again = Run.read(run.folder)
    assert again == run
    assert again.question.device == "cuda"  # of a machine that this one need not be
    assert [r.name for r in again.candidates] == ["0001"]
    assert again.references == []
    assert (again.space_document, again.costs_document) == (STATE["space"], STATE["costs"])
    assert made(tmp_path, name="other").id != run.id


def test_reading_a_run_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    run = made(tmp_path)
    Ledger.open(run.ledger_file).append(record("0001"))
    code = (
        "import sys; from pathlib import Path; from nas.run import Run; from nas.front import pareto_front\n"
        f"run = Run.read(Path({str(run.folder)!r})); print(len(pareto_front(run.candidates)), run.question.trials)\n"
        "assert not {'torch', 'ray', 'optuna', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "1 3\n", done.stderr


def test_a_run_is_read_while_a_line_is_being_written(tmp_path: Path) -> None:
    """No warning, no mending: the file is another process's."""
    run = made(tmp_path)
    Ledger.open(run.ledger_file).append(record("0001"))
    with run.ledger_file.open("ab") as file:
        file.write(b'{"format": 2, "na')
    before = run.ledger_file.read_bytes()
    assert [r.name for r in Run.read(run.folder).candidates] == ["0001"]
    assert run.ledger_file.read_bytes() == before


def test_a_run_is_made_once(tmp_path: Path) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / "state" / "lock").touch()
    made(tmp_path)  # the folder was what a crash left of one that had not begun
    with pytest.raises(BadInput, match=r"exists: go on with it by --resume .* or choose"):
        made(tmp_path)


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="can't be written"):
        require_new(question(tmp_path / "file"))
    if os.geteuid() == 0:
        with pytest.raises(BadInput, match="can't be written"):
            require_new(question(Path("/proc/results")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "can't be read: AttributeError"),
        ("[1, 2]", "can't be read: AttributeError"),
        ("format: 2\nid: a", "can't be read: KeyError"),
        ("format: 7", "its format is 7, this version reads 1 to 4"),
        ("{", "can't be read: ParserError"),
        ("a: \xff", "can't be read: UnicodeDecodeError"),
    ],
)
def test_a_damaged_search_yaml_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match=says) as error:
        Run.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_of_the_first_format_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    """As its search.yaml was then; its recipe was another optimiser's."""
    proxy = {"width": 0.25, "resolution": 24, "dataset": "digits_on_photos", "epochs": 8, "images_per_epoch": 1536}
    old = {
        "space": "mine",
        "backbone": {"name": "resnet20", "classes": 10, "resolution": 32, "width": 1.0},
        "budget": ["20MFLOPs"],
        "trials": 3,
        "sampler": "tpe",
        "seed": 0,
        "dataset": "digits_on_photos",
        "data_root": None,
        "proxy": {**proxy, "batch": 32, "peak_lr": 0.3, "head_lr": 0.1, "momentum": 0.9},
        "device": "cpu",
        "cpus_per_trial": 1.0,
        "gpus_per_trial": 0.0,
        "address": None,
        "references": True,
        "planned": 3,
        "storage": None,
    }
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(old))
    assert str(Run.read(tmp_path).question.budget[0]) == "20MFLOPs"
    with pytest.raises(BadInput, match="earlier version: it can be read, not gone on with"):
        Run.to_go_on(tmp_path, {})


def test_a_run_whose_scores_are_of_other_recipes_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    """Format 3: trainings of the same stage and seed would mix two recipes."""
    run = made(tmp_path)
    path = run.folder / "search.yaml"
    path.write_text(path.read_text().replace(f"format: {FORMAT}", "format: 3"))
    assert Run.read(run.folder).question == run.question
    with pytest.raises(BadInput, match="earlier version: it can be read, not gone on with"):
        Run.to_go_on(run.folder, {})


def test_what_is_changed_on_resume_stays_changed(tmp_path: Path) -> None:
    run = made(tmp_path)
    written = {"storage": str(tmp_path / "store"), "data_root": str(tmp_path / "data"), "trials": 9}
    with Run.open(run.folder, written) as opened:
        assert Run.read(run.folder).question == run.question  # not before it is noted
        opened.note({"trials": 9})
    question = Run.read(run.folder).question
    assert (question.storage, question.data_root) == (str(tmp_path / "store"), tmp_path / "data")
    assert (question.trials, question.planned) == (9, 3)
    assert Run.read(run.folder).id == run.id


def test_a_storage_that_holds_another_run_of_the_name_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = made(tmp_path, storage=str(store))
    assert (store / "run" / "search.yaml").is_file()  # at once, so that no other begins there meanwhile
    with Run.open(run.folder, {}):
        pass  # its own copy
    with pytest.raises(BadInput, match="holds another run called run: choose another --name or --storage"):
        made(tmp_path / "elsewhere", storage=str(store))
    other = made(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="holds another run"), Run.open(other.folder, {"storage": str(store)}):
        pass


def test_checkpoints_are_no_other_runs(tmp_path: Path) -> None:
    """Two runs of one name share a storage, one after the other: keys of architectures are the same in both."""
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    assert first.checkpoints("s3://store") != second.checkpoints("s3://store")
    assert first.checkpoints("s3://store").startswith("s3://store/run/state/checkpoints-")
    assert first.checkpoints() == f"{first.folder.resolve()}/state/checkpoints-{first.id}"


class Lines(Watch):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)


def test_checkpoints_follow_a_storage_that_is_changed(tmp_path: Path) -> None:
    run, watch = made(tmp_path), Lines()
    write_whole(f"{run.checkpoints()}/a.pt", b"epoch 3")
    store = tmp_path / "store"
    with Run.open(run.folder, {"storage": str(store)}) as opened:
        move_checkpoints(opened, watch)
        assert Path(opened.checkpoints(str(store)), "a.pt").read_bytes() == b"epoch 3"
    assert not Path(run.checkpoints()).exists()
    assert watch.lines == []


def test_a_storage_that_is_gone_is_left_with_a_word(tmp_path: Path) -> None:
    """That is why it was changed."""
    run, watch = made(tmp_path, storage=str(tmp_path / "store")), Lines()
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("a file")
    with Run.open(run.folder, {"storage": str(tmp_path / "other")}) as opened:
        move_checkpoints(opened, watch)
    (line,) = watch.lines
    assert line.startswith("checkpoints can't be moved to the new --storage, unfinished trials begin again: ")


def test_a_run_that_another_process_writes_is_not_opened(tmp_path: Path) -> None:
    run = made(tmp_path)
    with (
        Run.open(run.folder, {}),
        pytest.raises(BadInput, match=f"is being written by process {os.getpid()} on "),
        Run.open(run.folder, {}),
    ):
        pass


def test_what_a_killed_process_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    """Killed while it wrote search.yaml for the first time; killed later."""
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / ".search.yaml.0123abcd.partial").write_text("format: 2")
    run = made(tmp_path)
    (run.state / ".measured.json.0123abcd.partial").write_text("{")
    with Run.open(run.folder, {}):
        pass
    assert not list(tmp_path.rglob(".*.partial"))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda run: shutil.rmtree(run.state), "state is missing: copy it with the run's folder"),
        (lambda run: _edit(run, "planned", "many"), "can't be read: ValueError"),
        (lambda run: _edit(run, "seed", 1.5), "--seed must be a whole number, got 1.5"),
        (lambda run: _edit(run, "proxy_width", "half"), "--proxy-width must be a number, got 'half'"),
        (lambda run: _edit(run, "budget", 7), "--budget must be text, or several, got 7"),
        (lambda run: _edit(run, "sampler", "best"), "unknown sampler 'best'"),
    ],
)
def test_a_run_that_was_edited_or_copied_in_part_is_one_line(break_it, says: str, tmp_path: Path) -> None:
    run = made(tmp_path)
    break_it(run)
    with pytest.raises(BadInput, match=re.escape(says)) as error, Run.open(run.folder, {}):
        pass
    assert "\n" not in str(error.value)


def _edit(run: Run, key: str, value: object) -> None:
    path = run.folder / "search.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), key: value}))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"trials": [1, 2]}'])
def test_measurements_that_are_damaged_are_made_again(text: str, tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.state / "measured.json").write_text(text)
    assert run.measured is None


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300, "~nobody-has-this-name/x"])
def test_a_folder_that_can_not_be_is_one_line(name: str) -> None:
    with pytest.raises(BadInput) as error:
        Run.read(Path(name))
    assert "\n" not in str(error.value)


def test_a_record_of_a_time_before_a_metric_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "energy_pj", "minimize")
    monkeypatch.setitem(METRICS, "energy_pj", METRICS["params"])
    old = [record("0001"), record("0002")]
    assert pareto_front(old) == old
    console = Console(width=90, file=io.StringIO())
    print_results(console, [], (old, []), old[0], Found(Measured({}, {})))
    assert "0002" in console.file.getvalue()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """On a real disk of 64 KiB; and to wherever fsspec reaches."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_whole(disk / "a" / "b.yaml", b"first")
        with pytest.raises(OSError, match="No space left"):
            write_whole(disk / "a" / "b.yaml", b"x" * 200_000)
        assert [p.name for p in (disk / "a").iterdir()] == ["b.yaml"]
        assert (disk / "a" / "b.yaml").read_bytes() == b"first"
    for data in (b"one", b"two"):
        write_whole(f"file://{tmp_path}/remote/c.yaml", data)
        assert [p.read_bytes() for p in (tmp_path / "remote").iterdir()] == [data]
