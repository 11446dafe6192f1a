"""SIGKILL a search's driver at random moments, go on with it each time, and see whether anything is lost or done twice.

    python benchmarks/chaos.py --kills 20 --trials 60
    python benchmarks/chaos.py --kills 100 --trials 400      # the longer form

Exit status 0: every trial that had ended is still there, none was trained twice to the end, the count is exact, and the
front and best.yaml are those of an undisturbed run with the same seed (random proposals: the order does not matter).
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from nas.front import pareto_front
from nas.record import Record
from nas.run.ledger import read_ledger
from search_spaces import load_architecture

ROOT = Path(__file__).parent.parent
SPACE = {
    "description": "Three convolutions of a small network: short trials.",
    "backbone": {"name": "resnet20", "classes": 10, "resolution": 24, "width": 0.5},
    "exclude": ["conv1", "layer1.*", "layer2.*", "layer3.0.conv1", "layer3.0.conv2"],
    "choices": [
        {"operator": "vanilla"},
        {"operator": "spconv", "alpha": ["1/4", "1/2", 1], "groups": [1, 2]},
        {"operator": "compconv", "depth": [1, 2]},
    ],
}


def start(output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (output / "log.txt").open("ab")
    command = [sys.executable, "launch.py", *arguments]
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True)


def first(output: Path, name: str, trials: int, seed: int) -> list[str]:
    space = output / "chaos.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    question = ["--space", str(space), "--sampler", "random", "--trials", str(trials), "--epochs", "2"]
    plain = ["--no-references", "--judge", "scratch", "--repeats", "0", "--final", "0"]  # trials alone
    return [*question, *plain, "--seed", str(seed), "--output", str(output), "--name", name]


def whole_lines(run: Path) -> list[bytes]:
    path = run / "trials.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def disturbed(output: Path, kills: int, trials: int, seed: int, longest_s: float) -> dict[str, Any]:
    """Run, kill, go on, until it is whole; what was lost on the way."""
    run, rng = output / "chaos", random.Random(seed)
    before: list[bytes] = []
    lost, done, moments = 0, 0, []
    while True:
        begun = (run / "search.yaml").exists()
        process = start(output, "--resume", str(run)) if begun else start(output, *first(output, "chaos", trials, seed))
        if done < kills:
            share = max(1, (trials - len(before)) // (kills - done + 1))
            lived = live(process, run, len(before) + share, rng.uniform(0.5, longest_s))
            if lived is not None:
                process.send_signal(signal.SIGKILL)
                done += 1
                moments.append(round(lived, 1))
        process.wait()
        now = whole_lines(run)
        lost += now[: len(before)] != before
        before = now
        if process.returncode != -signal.SIGKILL:
            return {"kills": done, "moments_s": moments, "ledgers_that_lost_a_line": lost, "status": process.returncode}


def live(process: subprocess.Popen[bytes], run: Path, lines: int, longest_s: float) -> float | None:
    """Wait for ``longest_s``, or until the ledger has so many lines: a fast machine would be done before the last kill.

    Returns how long it was; ``None`` if the process ended by itself.
    """
    began = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - began > longest_s or len(whole_lines(run)) >= lines:
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def what_matters(records: list[Record]) -> set[tuple[str, float | None]]:
    return {(r.key, r.accuracy) for r in records}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds after a start, at most, to a kill")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        found = disturbed(output, asked.kills, asked.trials, asked.seed, asked.longest)
        start(output, *first(output, "undisturbed", asked.trials, asked.seed)).wait()
        run, other = output / "chaos", output / "undisturbed"
        records, undisturbed = read_ledger(run / "trials.jsonl"), read_ledger(other / "trials.jsonl")
        log = (output / "log.txt").read_text(errors="replace")
        best, expected = (load_architecture(r / "best.yaml") for r in (run, other))
        exported = {p.stem.partition("-")[2] for p in (run / "front").glob("*.yaml")}
    found |= {
        "trials": len(records),
        "finished": sum(r.status == "finished" for r in records),
        "architectures_twice": len(records) - len({r.key for r in records}),
        "names_twice": len(records) - len({r.name for r in records}),
        "gone_on_with": sum(len(r.starts) > 1 for r in records),
        "same_as_undisturbed": what_matters(records) == what_matters(undisturbed),
        "same_best": best.key == expected.key,
        "front_is_the_ledgers": exported == {r.key for r in pareto_front(records)},
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    print(json.dumps(found, indent=1))
    good = (
        found["kills"] == asked.kills
        and found["ledgers_that_lost_a_line"] == found["architectures_twice"] == found["names_twice"] == 0
        and found["trials"] == found["finished"] == asked.trials
        and found["same_as_undisturbed"]
        and found["same_best"]
        and found["front_is_the_ledgers"]
    )
    if not good:
        print(log[-6000:], file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
