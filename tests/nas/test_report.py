"""The report of a run: of any size, going on or not, whatever is in its names; and a page that compares."""

import csv
import html as html_module
import io
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.budget import parse_budget
from nas.command_line import parser
from nas.cost.table import CostTable, Prediction, build_table, table_to_document
from nas.form import parse_form
from nas.progress import Scale, progress
from nas.question import asked
from nas.record import Record
from nas.report.__main__ import main
from nas.report.command import command_of
from nas.report.facts import Facts
from nas.report.sections import answer_of
from nas.report.trial_figures import time_figure
from nas.report.writing import DRAWN, write_comparison, write_report
from nas.result.measured import Measured
from nas.run import Run
from nas.run.ledger import Ledger
from search_spaces import VANILLA, Choice, Space
from search_spaces.space import parse_space
from trainers.report import Status

SPACE = {
    "backbone": {"name": "resnet20", "classes": 10, "resolution": 32, "width": 1.0},
    "exclude": ["conv1"],
    "choices": [
        {"operator": "vanilla"},
        {"operator": "spconv", "alpha": ["1/4", "1/2"], "groups": [1, 2], "kernel_size": 3},
        {"operator": "compconv", "depth": [1]},
    ],
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def space() -> Space:
    return parse_space("small", SPACE, "a test")


@pytest.fixture(scope="module")
def table(space: Space) -> CostTable:
    return build_table(space, parse_form("cpu"))


def judged(name: str, space: Space, table: CostTable, row: Any, seed: int = 0, **changes: Any) -> Record:
    """A record whose accuracy follows from its FLOPs, more or less."""
    architecture = space.uniform(row) if isinstance(row, Choice) else space.architecture(row)
    costs, generator = table.total(architecture), np.random.default_rng([seed, int(architecture.key, 16) % 2**32])
    accuracy = float(0.5 + 0.4 * costs["flops"] / 41e6 + 0.01 * generator.standard_normal())
    curve = tuple(accuracy * e / 4 for e in range(1, 5))
    known: dict[str, Any] = {
        **{"status": Status.FINISHED, "accuracy": accuracy, "test_accuracy": accuracy, "accuracy_by_epoch": curve},
        **{"loss_by_epoch": (1.0,) * 4, "started": 1e9, "ended": 1e9 + 60, "train_s": 50.0, "cpu_s": 30.0},
        "device": "cpu, 1 thread(s)",
    }
    return Record(
        name=name,
        key=architecture.key,
        architecture=architecture.to_dict(),
        costs=costs,
        seed=seed,
        **(known | changes),
    )


def made(folder: Path, count: int, space: Space, table: CostTable, finals: bool = True, **asked_for: object) -> Run:
    """A run with so many candidates that have ended, references, and a final stage."""
    written = {"budget": ["35MFLOPs"], "trials": max(1, count), "output": folder.parent, "name": folder.name}
    about = {"backbone": SPACE["backbone"], "data": {"classes": 10}, "provenance": {"date": "today"}}
    state = {"space": SPACE, "costs": table_to_document(table)}
    generator = np.random.default_rng(0)
    with Run.create(asked({**written, **asked_for}), about, state) as run:
        trials, references = Ledger.open(run.ledger_file), Ledger.open(run.references_file)
        for i in range(count):
            row = [int(generator.integers(len(v.options))) for v in space.variables]
            failed = {"status": Status.FAILED, "accuracy": None, "test_accuracy": None, "reason": "<b>no</b> memory"}
            when = {"started": 1e9 + 30 * i, "ended": 1e9 + 30 * i + 60}
            trials.append(judged(f"{i + 1:04d}", space, table, row, **when, **(failed if i % 10 == 9 else {})))
        if count:
            uniform = Choice.of("spconv", alpha=1 / 4, groups=2)
            for name, choice in (("vanilla", VANILLA), (f"uniform {uniform}", uniform)):
                references.append(judged(name, space, table, choice))
        if count and finals:
            final = Ledger.open(run.stage_file("final"))
            (best, *_) = sorted((r for r in run.candidates if r.finished), key=lambda r: -(r.accuracy or 0))
            within = [r for r in run.candidates if r.finished and r.costs["flops"] <= 35e6][:1] or [best]
            for record in (*within, *run.references):
                for seed in (2, 3, 4):
                    final.append(replace(record, name=f"{record.name}, seed {seed}", seed=seed))
            chosen = {record.name: record.built_architecture().to_dict() for record in (*within, *run.references)}
            run.write_finalists({"asked": [run.question.final, count], "chosen": chosen})
    return run


def figures_of(html: str) -> dict[str, Any]:
    found = re.search(r"^const figures = (.*);$", html, re.MULTILINE)
    assert found is not None
    return json.loads(found[1].replace("<\\/", "</"))


def without_plotly(html: str) -> str:
    return re.sub(r"<script>/\*\*.*?</script>", "", html, count=1, flags=re.DOTALL)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_run_of_any_size_has_its_report(count: int, space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "run", count, space, table)
    html = write_report(run).read_text()
    for figure in figures_of(html).values():
        go.Figure(figure)  # it refuses what plotly does not know
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    if count == 0:
        assert titles == ["The front", "How it was measured"]
        assert "No trial has ended yet." in html
    if count == 10:
        wanted = ["The front", "The final stage", "Layer by layer", "What the model learned", "How the search went"]
        assert titles == [*wanted, "What was stopped or failed", "How it was measured"]
        facts = Facts.of(run)
        assert facts.verdict is not None
        assert facts.verdict.sentence() in html
        assert {name for name in DRAWN if not (run.folder / name).exists()} == set()
        assert "<b>no</b>" not in html
        assert "&lt;b&gt;no&lt;/b&gt; memory" in html
    assert not re.search(r"(src|href)=\"(?!#|data:)", without_plotly(html))


def test_in_the_middle_of_the_final_stage_there_is_no_verdict(space: Space, table: CostTable, tmp_path: Path) -> None:
    """``best.yaml`` is the model's choice then, and the page says that luck is not known yet."""
    run = made(tmp_path / "run", 10, space, table)
    file = run.stage_file("final")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert Facts.of(run).verdict is None
    assert "No final stage has ended" in write_report(run).read_text()


def test_a_run_that_goes_on_is_drawn(space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "run", 5, space, table, finals=False, trials=50)
    with run.ledger_file.open("ab") as file:
        file.write(b'{"format": 4, "na')  # it is being written
    html = write_report(run).read_text()
    assert "5 networks have ended, 5 with a score, 50 planned" in html
    assert "No final stage has ended" in html
    (run.folder / "state" / "costs.json").unlink()
    html = write_report(run).read_text()
    assert "Layers can&#39;t be shown:" in html


@pytest.mark.parametrize("doubt", ["", "other work took 55% of the cores meanwhile"])
def test_latency_is_shown_with_its_error_and_its_doubt(
    doubt: str, space: Space, table: CostTable, tmp_path: Path
) -> None:
    known = replace(table, predictions={"latency_ms": Prediction(0.9, 0.031, 7, doubt)})
    run = made(tmp_path / "run", 10, space, known, finals=False)
    key, predicted = run.candidates[0].key, run.candidates[0].costs["latency_ms"]
    reading = {"ms": 2 * predicted, "error": 0.1, **({"doubt": "its ratio scatters"} if doubt else {})}
    details = {key: {"latency_ms": reading}}
    whole = Measured({key: {"latency_ms": (2 * predicted, 0.1)}}, {"latency_on": "cpu:fp32:b1"}, details).to_document()
    run.write_measured({"trials": [], "complete": True, **whole})
    run = replace(run, question=replace(run.question, budget=(parse_budget(f"{1.5 * predicted}ms"),)))
    html = html_module.unescape(write_report(run).read_text())
    row = next(line for line in re.findall(r"<tr>.*?</tr>", html, re.S) if f">{run.candidates[0].name}" in line)
    assert (">no<" in row) == (not doubt)  # a figure in doubt breaks no budget that the prediction keeps
    assert "predicted to ± 3.1%, by 7 whole networks" in html
    assert f"cpu:fp32:b1 on {table.device}" in html
    assert ("Can't be trusted: ms, summed over layers (other work took 55%" in html) == bool(doubt)
    assert ("Can't be trusted: whole networks (1 of 1 networks: its ratio scatters)" in html) == bool(doubt)


@pytest.mark.parametrize("version", [2, 3])
def test_a_run_of_an_older_format_is_drawn(version: int, space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "run", 10, space, table)
    document = yaml.safe_load((run.folder / "search.yaml").read_text())
    later = ("model", "detector", "classes", "resolution", "log", *(("repeats", "final") if version == 2 else ()))
    old = {name: value for name, value in document.items() if name not in later}
    (run.folder / "search.yaml").write_text(yaml.safe_dump({**old, "format": version}))
    html = write_report(Run.read(run.folder)).read_text()
    assert "Layer by layer" in html
    assert "10 networks have ended" in html


def test_names_are_text_whatever_is_in_them(space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "a <script>alert(1)<!-- & b", 10, space, table)
    html = write_report(run).read_text()
    assert "alert(1)" in html
    assert "<script>alert" not in html
    write_comparison([run, run], tmp_path / "compared.html")
    assert "<script>alert" not in (tmp_path / "compared.html").read_text()


def test_every_training_is_a_line_of_the_table(space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "run", 10, space, table)
    write_report(run)
    rows = list(csv.DictReader(io.StringIO((run.folder / "trials.csv").read_text())))
    assert [row["stage"] for row in rows] == ["trials"] * 10 + ["references"] * 2 + ["final"] * 9
    records = [*run.candidates, *run.references, *run.judged("final")]
    for row, record in zip(rows, records, strict=True):
        assert row["name"] == record.name
        assert row["accuracy"] == ("" if record.accuracy is None else str(record.accuracy))
        assert float(row["flops"]) == record.costs["flops"]
        chosen = record.architecture["layers"]["layer3.2.conv2"]
        assert row["layer3.2.conv2"].split()[0] == chosen["operator"]


def test_a_reference_that_is_a_candidate_too_is_counted_once(space: Space, table: CostTable, tmp_path: Path) -> None:
    run = made(tmp_path / "run", 10, space, table, finals=False)
    uniform = run.references[-1]
    Ledger.open(run.ledger_file).append(uniform)  # as ``Candidates`` does
    facts = Facts.of(run)
    assert len(facts.candidates) == 11
    assert [stage for stage, _ in facts.trainings] == ["trials"] * 10 + ["references"] * 2
    assert len(facts.scored) == len(facts.finished) - 1 + 2
    figure = time_figure(facts)
    assert figure is not None
    assert sum(sum(trace["x"]) for trace in figure["data"]) == pytest.approx(12 * 60 / 3600)


def test_effects_and_shares_are_those_of_the_model_and_the_table(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    facts = Facts.of(made(tmp_path / "run", 40, space, table))
    record = facts.finished[0]
    shares = facts.shares(record, "flops")
    assert sum(cost for *_, cost, _ in shares) + table.rest["flops"] == record.costs["flops"]
    assert sum(whole for *_, whole in shares) + table.rest["flops"] == facts.vanilla["flops"]
    assert (
        facts.shares(replace(record, architecture={"layers": {"layer1.0.conv1": {"operator": "ghost"}}}), "flops") == []
    )


def test_several_runs_on_one_page(space: Space, table: CostTable, tmp_path: Path) -> None:
    runs = [made(tmp_path / name, 10, space, table) for name in ("a", "b")]
    write_comparison(runs, tmp_path / "compared.html")
    html = (tmp_path / "compared.html").read_text()
    for figure in figures_of(html).values():
        go.Figure(figure)
    assert "They were judged alike" in html
    other = made(tmp_path / "c", 10, space, table, judge="inherited")
    write_comparison([*runs, other], tmp_path / "compared.html")
    assert "Their scores do not compare: they differ in judge, recipe." in (tmp_path / "compared.html").read_text()


def test_the_program(space: Space, table: CostTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (made(tmp_path / name, 3, space, table).folder for name in ("a", "b"))
    assert main([str(a)]) == 0
    assert capsys.readouterr().out == f"{a / 'report.html'}\n"
    assert main([str(a), str(b), "--output", str(tmp_path / "both.html")]) == 0
    assert (tmp_path / "both.html").exists()
    for words, said in (
        ([str(tmp_path)], "there is no search.yaml"),
        ([str(a), "--output", "x.html"], "--output goes with several runs"),
        ([str(a), str(b), "--output", str(a / "search.yaml" / "y.html")], "can't be written"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_a_run_without_a_final_stage_says_so(space: Space, table: CostTable, tmp_path: Path) -> None:
    facts = Facts.of(made(tmp_path / "run", 10, space, table, finals=False))
    assert "how much of that is luck is not known yet" in answer_of(facts)
    over = Facts.of(made(tmp_path / "tight", 3, space, table, finals=False, budget=["1MFLOPs"]))
    assert answer_of(over) == "No candidate has been finished within every budget yet."


@pytest.mark.parametrize(
    "written",
    [
        {"budget": ["2.5GFLOPs", "60%"], "seed": 3, "references": False},
        {"budget": ["12MParams"], "epochs": 7, "judge": "inherited", "repeats": 2},
        {"space": "mixed_layerwise", "sampler": "nsga2", "trials": 9, "detector": "retinanet"},
        {"model": "torchvision:resnet18", "resolution": 96, "weights": "pretrained"},
    ],
)
def test_the_command_asks_the_same_again(written: dict[str, Any]) -> None:
    question = asked({**written, **({"no_references": True} if written.pop("references", True) is False else {})})
    words = shlex.split(command_of(question))
    assert words[:2] == ["python", "launch.py"]
    assert asked(vars(parser().parse_args(words[2:]))) == question


stairs = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 100)), min_size=1, max_size=12)


@given(stairs)
def test_the_hypervolume_is_the_mean_over_budgets(found: list[tuple[int, int]]) -> None:
    """Of what the best network within each has above guessing: counted one budget after the other."""
    records = [
        Record(
            **{
                "name": str(i),
                "key": str(i),
                "architecture": {},
                "seed": 0,
                "status": Status.FINISHED,
                "ended": float(i),
            },
            costs={"flops": float(cost)},
            accuracy=score / 100,
        )
        for i, (cost, score) in enumerate(found)
    ]
    points = progress(records, [parse_budget("10FLOPs")], Scale("flops", 1.0, 10.0, 0.1))
    for n, point in enumerate(points, 1):
        known = [(cost, score / 100) for cost, score in found[:n] if cost <= 10]
        best = [max([a - 0.1 for c, a in known if c <= limit] + [0.0]) for limit in range(1, 10)]
        assert point.hypervolume == pytest.approx(sum(best) / 9)
        assert point.best == max((a for _, a in known), default=None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_shows_it_without_an_error_and_without_a_network(
    space: Space, table: CostTable, tmp_path: Path
) -> None:
    """In light and dark every figure is drawn, and the console has no error: what asks a network would be one."""
    path = write_report(made(tmp_path / "run", 200, space, table))
    assert "default-src 'none'" in path.read_text()
    figures = len(figures_of(path.read_text()))
    how = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=9000"]
    for dark in ("0", "1"):
        more = [f"--user-data-dir={tmp_path / dark}", f"--blink-settings=preferredColorScheme={dark}"]
        command = [str(CHROMIUM), *how, *more, "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert len(re.findall(r'<svg class="main-svg" [^>]*style="background', done.stdout)) == figures
        assert "CONSOLE" not in done.stderr
