"""What trials train on, and where latencies are measured: on this machine or on the cluster that is joined."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from search_spaces.checks import BadInput

from .form import Form, parse_form, usual
from .question import DEFAULT_GPU_SHARE, DEFAULT_TRIALS, Question


def placed(question: Question, gpus: float | None) -> Question:
    """The question with its device, each trial's share of GPUs, and the number of trials.

    Args:
        gpus: of the cluster that is joined; ``None`` where trials run on this machine.

    Raises:
        BadInput: a GPU is asked for, or a run needs one, where there is none.
    """
    here = gpus is None
    have = torch.cuda.is_available() if here else bool(gpus)
    where = "this machine has no GPU that torch can use" if here else "the cluster has no GPU"
    asked_for = question.device == "cuda" or bool(question.gpus_per_trial)
    if asked_for and not have and question.planned:
        raise BadInput(f"the trials of this run train on GPUs, and {where}: go on with it on one that has")
    if asked_for and not have:
        option = "--device cuda" if question.device == "cuda" else f"--gpus-per-trial {question.gpus_per_trial:g}"
        raise BadInput(f"{option}: {where}; use --device cpu, or leave it out")
    wanted = question.device == "cuda" or (question.device == "auto" and have and question.gpus_per_trial != 0)
    device = "cuda" if wanted else "cpu"
    return replace(
        question,
        device=device,
        gpus_per_trial=(question.gpus_per_trial or DEFAULT_GPU_SHARE) if wanted else 0.0,
        trials=question.trials or (DEFAULT_TRIALS["cuda"] if wanted else 0),
        latency_on=question.latency_on if question.planned else str(_form_on(question.latency_on, device, have)),
    )


def _form_on(asked: str | None, device: str, have_gpu: bool) -> Form:
    """The form that is asked for, or the usual one of the device that trains."""
    form = usual(device) if asked is None else parse_form(asked).require()
    if form.device == "cuda" and not have_gpu:
        raise BadInput(f"--latency-on {form}: there is no GPU; use --latency-on cpu, or leave it out")
    return form


def is_here(form: Form) -> bool:
    """Whether this machine has the device of a form."""
    return form.device == "cpu" or torch.cuda.is_available()


def measures_here(question: Question) -> bool:
    """Whether this machine has what a run's latencies are measured on."""
    return is_here(usual("cpu") if question.latency_on is None else parse_form(question.latency_on))


def place_of(question: Question, on_a_gpu: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """What runs ``(function, *arguments)`` where the run's latencies are measured; ``None`` where that is not at hand.

    Args:
        on_a_gpu: runs it on one of the cluster's GPUs, where there is a cluster that has any.
    """
    if measures_here(question):
        return lambda function, *arguments: function(*arguments)
    return on_a_gpu


def device_for_costs(question: Question) -> torch.device:
    """What this machine trains and measures sensitivities on: the GPU if the trials have one and it has, too."""
    return torch.device("cuda" if question.device == "cuda" and torch.cuda.is_available() else "cpu")
