"""Going on with a run: its question from ``search.yaml``, its space and its costs as they were."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from search_spaces import load_space
from search_spaces.checks import BadInput
from trainers.recipe import Recipe

from .budget import parse_budget
from .cost.table import CostTable, read_table, write_table
from .document import dump_yaml
from .question import Question, check_folder, resolve_device

COMPARE = "the trials that have ended would not compare with those to come: start a new run for it"
REASONS = {
    "space": f"--space decides what was proposed; {COMPARE}",
    "budget": f"--budget decides what was proposed; {COMPARE}",
    "sampler": "--sampler has learned from the trials that have ended: start a new run for another",
    "dataset": f"--dataset decides the accuracies; {COMPARE}",
    "epochs": f"--epochs decides the accuracies; {COMPARE}",
    "seed": f"--seed decides the accuracies; {COMPARE}",
    "proxy_width": f"--proxy-width decides the accuracies; {COMPARE}",
    "proxy_resolution": f"--proxy-resolution decides the accuracies; {COMPARE}",
    "device": f"--device decides the accuracies to the last digit; {COMPARE}",
    "no_references": "--no-references is what the run was begun with, or not",
    "output": "--output is where the run is; move its folder instead",
    "name": "--name is the run's folder; rename it instead",
    "list_spaces": "--list-spaces goes alone",
}


def resumed(run: Path, given: Mapping[str, Any]) -> Question:
    """The question of an earlier run, with what may change changed: ``given`` are the options that the user wrote.

    Raises:
        BadInput: no run there, a search.yaml that is none, or an option that can't change.
    """
    for option in given:
        if option in REASONS:
            raise BadInput(f"--resume: {REASONS[option]}")
    if not (run / "search.yaml").is_file():
        raise BadInput(f"--resume {run}: there is no search.yaml; name the folder of a run, such as results/NAME")
    check_folder(run)
    try:
        asked = yaml.safe_load((run / "search.yaml").read_text())
        question = _question(run, asked)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise BadInput(f"--resume {run}: search.yaml can't be read: {type(error).__name__}: {said}") from None
    changes = {key: value for key, value in given.items() if key in ("trials", "address", "storage", "data_root")}
    question = replace(question, **changes, allow_unauthenticated=given.get("allow_unauthenticated", False))
    if question.trials < asked["trials"]:
        raise BadInput(f"--resume: --trials can only grow, from {asked['trials']}; got {question.trials}")
    gpus = given.get("gpus_per_trial", asked["gpus_per_trial"] or None)
    device, gpus = resolve_device(question.device, gpus, question.address)
    cpus = given.get("cpus_per_trial", question.cpus_per_trial)
    return replace(question, device=device, gpus_per_trial=gpus, cpus_per_trial=cpus)


def _question(run: Path, asked: Mapping[str, Any]) -> Question:
    proxy = dict(asked["proxy"])
    recipe = Recipe(**{name: proxy[name] for name in Recipe.__dataclass_fields__})
    space = replace(load_space(str(run / "state" / "space.yaml")), name=str(asked["space"]))
    return Question(
        space=space,
        budgets=tuple(parse_budget(text) for text in asked["budget"]),
        trials=asked["trials"],
        sampler=asked["sampler"],
        dataset=asked["dataset"],
        data_root=None if asked["data_root"] is None else Path(asked["data_root"]),
        recipe=recipe,
        seed=asked["seed"],
        proxy_width=proxy["width"],
        proxy_resolution=proxy["resolution"],
        device=asked["device"],
        cpus_per_trial=asked["cpus_per_trial"],
        gpus_per_trial=asked["gpus_per_trial"],
        address=None,
        output=run.parent,
        name=run.name,
        references=asked["references"],
        storage=asked["storage"],
        planned=asked["planned"],
        resumed=True,
    )


def keep(question: Question, table: CostTable) -> None:
    """Write what a resumed run takes over as it was, on whatever machine: the space and the costs."""
    dump_yaml(question.state / "space.yaml", question.space.document)
    write_table(question.state / "costs.json", table)


def kept_table(question: Question) -> CostTable:
    """The costs that the run began with: those of its own machine, whichever goes on with it.

    Raises:
        BadInput: they can't be read.
    """
    table = read_table(question.state / "costs.json")
    if table is None or set(table.slots) != set(question.space.slots):
        raise BadInput(f"--resume {question.run}: state/costs.json can't be read: copy it with the run's folder")
    return table
