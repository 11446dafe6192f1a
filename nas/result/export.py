"""What a run leaves behind: search.yaml, best.yaml, the front's architectures, the tables on the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from trainers.recipe import full_recipe

from ..budget import Budget, broken
from ..cost.latency import describe
from ..cost.table import measured_latency
from ..document import dump_yaml, provenance
from ..question import Question
from ..run.ledger import Record
from .front import pareto_front

Latencies = Mapping[str, Mapping[str, float]]


def write_question(question: Question, device: torch.device) -> None:
    """search.yaml: what was asked, fully resolved, with versions, commit and hardware; a resumed run adds a line."""
    path = question.run / "search.yaml"
    if question.resumed:
        earlier = yaml.safe_load(path.read_text())
        again = [*earlier.get("resumed", []), {"trials": question.trials, **provenance(device)}]
        dump_yaml(path, {**earlier, "trials": question.trials, "resumed": again})
        return
    asked = {
        "space": question.space.name,
        "backbone": asdict(question.space.backbone),
        "budget": [str(b) for b in question.budgets],
        "trials": question.trials,
        "sampler": question.sampler,
        "seed": question.seed,
        "dataset": question.dataset,
        "data_root": None if question.data_root is None else str(question.data_root),
        "proxy": _proxy(question),
        "device": question.device,
        "cpus_per_trial": question.cpus_per_trial,
        "gpus_per_trial": question.gpus_per_trial,
        "address": question.address,
        "references": question.references,
        "planned": question.planned or question.trials,
        "storage": question.storage,
        "provenance": provenance(device),
    }
    dump_yaml(path, asked)


def export(
    question: Question, candidates: Sequence[Record], device: torch.device, latencies: Latencies
) -> Record | None:
    """Write front/*.yaml and best.yaml; returns the best: the most accurate candidate within every budget.

    ``latencies`` are whole networks' measured ones, by architecture key; where one breaks a latency budget that the sum
    of its layers keeps, its architecture can't be the best.
    """
    (question.run / "front").mkdir(exist_ok=True)
    for i, record in enumerate(pareto_front(candidates)):
        document = document_of(question, record, device, latencies)
        dump_yaml(question.run / "front" / f"{i:02d}-{record.key}.yaml", document)
    finished = sorted((r for r in candidates if r.status == "finished"), key=lambda r: (-(r.accuracy or 0), r.flops))
    best = next((r for r in finished if not broken(question.budgets, costs_of(r, latencies))), None)
    (question.run / "best.yaml").unlink(missing_ok=True)
    if best is not None:
        dump_yaml(question.run / "best.yaml", document_of(question, best, device, latencies))
    return best


def costs_of(record: Record, latencies: Latencies) -> dict[str, float]:
    """The record's costs, with the measured latency of the whole network where there is one."""
    costs = record.costs()
    if record.key in latencies:
        costs["latency_ms"] = latencies[record.key]["latency_ms"]
    return costs


def document_of(question: Question, record: Record, device: torch.device, latencies: Latencies) -> dict[str, Any]:
    """An architecture YAML with all its sections."""
    measured = record.key in latencies
    latency = {**describe(device), "method": "whole network" if measured else "sum of its layers, timed one by one"}
    if measured:
        latency["spread_ms"] = latencies[record.key]["spread_ms"]
    return {
        "space": question.space.name,
        **dict(record.architecture),
        "metrics": {
            "accuracy": record.accuracy,
            "test_accuracy": record.test_accuracy,
            **costs_of(record, latencies),
            "measured": {
                "accuracy": f"validation split of {question.dataset}, proxy network",
                "test_accuracy": f"test split of {question.dataset}, proxy network; not used by the search",
                "flops": "multiply-adds, fvcore, eval mode, BatchNorm folded, one image",
                "params": "as trained, BatchNorm included",
                "latency_ms": latency,
            },
        },
        "budget": [str(b) for b in question.budgets],
        "training": asdict(full_recipe(question.space.backbone.resolution)),
        "provenance": {
            "run": question.name,
            "trial": record.name,
            "seed": record.seed,
            "proxy": _proxy(question),
            "substituted_in_proxy": list(record.substituted),
            **provenance(device),
        },
    }


def to_be_timed(question: Question, candidates: Sequence[Record], references: Sequence[Record]) -> list[Record]:
    """The front and the references; all candidates where a latency budget must be kept."""
    limited = any(b.metric == "latency_ms" for b in question.budgets)
    return [r for r in (*(candidates if limited else pareto_front(candidates)), *references) if r.status == "finished"]


def final_latencies(records: Sequence[Record], device: torch.device) -> Latencies:
    """Whole networks, timed in turn on the now idle device."""
    return measured_latency({r.key: r.built_architecture() for r in records}.values(), device)


def print_results(
    console: Console,
    budgets: Sequence[Budget],
    candidates: Sequence[Record],
    references: Sequence[Record],
    best: Record | None,
    latencies: Latencies,
) -> None:
    """The front, and the vanilla network and the papers' settings beside it."""
    front = pareto_front(candidates)
    table = Table(title=f"Pareto front: {len(front)} of {len(candidates)} candidates")
    table.add_column("network", no_wrap=True)
    for heading in ("accuracy", "test", "GFLOPs", "MParams", "ms by layers", "ms measured"):
        table.add_column(heading, justify="right")
    table.add_column("within budget")
    for record in front:
        _row(table, "[bold]best[/bold]" if record is best else record.name or "", record, budgets, latencies)
    table.add_section()
    for record in sorted(references, key=lambda r: -r.flops):
        _row(table, record.name or "", record, budgets, latencies)
    console.print(table)


def _row(table: Table, name: str, record: Record, budgets: Sequence[Budget], latencies: Latencies) -> None:
    measured = latencies.get(record.key)
    violated = broken(tuple(budgets), costs_of(record, latencies))
    table.add_row(
        name,
        "failed" if record.accuracy is None or record.status == "failed" else f"{record.accuracy:.1%}",
        "" if record.test_accuracy is None else f"{record.test_accuracy:.1%}",
        f"{record.flops / 1e9:.3f}",
        f"{record.params / 1e6:.2f}",
        f"{record.latency_ms:.2f}",
        "" if measured is None else f"{measured['latency_ms']:.2f} ± {measured['spread_ms'] / 2:.2f}",
        "no: " + ", ".join(str(b) for b in violated) if violated else "yes",
    )


def _proxy(question: Question) -> dict[str, Any]:
    return {
        "width": question.proxy_width,
        "resolution": question.proxy_resolution,
        "dataset": question.dataset,
        **asdict(question.recipe),
    }
