import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.front import dominates, pareto_front
from nas.ledger import Ledger, Record, read_ledger
from search_spaces import load_space


def record(name: str, accuracy: float | None, flops: int, latency_ms: float, status: str = "finished") -> Record:
    architecture = load_space("mixed_resnet20").architecture([0] * 18)
    return Record(name, architecture.key, status, architecture.to_dict(), flops, 10, latency_ms, accuracy, name=name)


def test_a_ledger_reads_back_what_was_appended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    written = [
        replace(record("a", 0.5, 100, 1.5), accuracy_by_epoch=(0.1, 0.5), started=1.0, ended=2.0),
        replace(record("b", None, 100, 1.5, "failed"), reason="diverged"),
    ]
    for r in written:
        ledger.append(r)
    assert read_ledger(ledger.path) == ledger.records == written
    assert len(ledger.path.read_text().splitlines()) == 2
    assert read_ledger(ledger.path)[0].built_architecture().key == written[0].key


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    ledger.append(record("a", 0.5, 100, 1.5))
    with ledger.path.open("a") as file:
        file.write(json.dumps({"trial": "b"}) + "\n")
    with pytest.raises(ValueError, match="line 2"):
        read_ledger(ledger.path)


def test_the_front_is_what_nothing_dominates() -> None:
    good = record("good", 0.9, 100, 2.0)
    fast = record("fast", 0.8, 100, 1.0)
    slim = record("slim", 0.7, 50, 3.0)
    beaten = record("beaten", 0.8, 100, 2.0)
    twin = record("twin", 0.9, 100, 2.0)
    failed = record("failed", None, 1, 0.1, "failed")
    assert [r.name for r in pareto_front([slim, beaten, failed, fast, good, twin])] == ["good", "twin", "fast", "slim"]
    assert dominates(good, beaten)
    assert not dominates(good, twin)
    assert not dominates(good, fast)
