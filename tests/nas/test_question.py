"""What is asked: every option is stored, settable on resume, or refused there; a question survives its document."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.command_line import main, parser
from nas.devices import placed
from nas.question import Question, asked, changed, from_document, options, to_document
from search_spaces.checks import BadInput
from trainers.recipe import RECIPES

EXAMPLES = {
    "space": "compconv_c0",
    "budget": ["1GFLOPs", "2ms"],
    "model": "timm:resnet26d",
    "detector": "retinanet",
    "classes": 10,
    "resolution": 96,
    "judge": "inherited",
    "dataset": "cifar10",
    "data_root": "data",
    "epochs": 3,
    "proxy_width": 0.5,
    "proxy_resolution": 32,
    "weights": "vanilla.pt",
    "seed": 7,
    "no_references": True,
    "trials": 5,
    "sampler": "random",
    "stop": "none",
    "repeats": 5,
    "final": 2,
    "device": "cuda",
    "latency_on": "onnxruntime:fp32:b8",
    "remeasure": True,
    "cpus_per_trial": 2.0,
    "gpus_per_trial": 0.5,
    "address": "auto",
    "allow_unauthenticated": True,
    "storage": "shared",
    "log": ["mlflow"],
    "output": "elsewhere",
    "name": "mine",
}
GO_WITH = {name: {"model": "timm:resnet26d"} for name in ("classes", "resolution")}


def test_every_option_has_an_example_here() -> None:
    assert list(EXAMPLES) == list(options())


@pytest.mark.parametrize("name", options())
def test_every_option_is_stored_or_settable_on_resume_or_refused_there(name: str) -> None:
    """An option that is none of these would be forgotten by ``--resume`` without a word."""
    field, option = options()[name]
    before = asked({"trials": 3})
    question = asked({"trials": 3, **GO_WITH.get(name, {}), name: EXAMPLES[name]})
    stored = from_document(to_document(question), Path("results/run"))
    is_stored = getattr(stored, field.name) == getattr(question, field.name)
    try:
        settable = getattr(changed(before, {name: EXAMPLES[name]}), field.name) == getattr(question, field.name)
        refused = False
    except BadInput as error:
        settable, refused = False, str(error).startswith("--resume: --")
    assert is_stored == option.stored == (field.name in to_document(question))
    assert is_stored or settable or refused
    assert refused == bool(option.fixed)


def test_weights_alone_ask_for_the_judge_that_starts_from_them() -> None:
    assert asked({"weights": "vanilla.pt"}).judge == "inherited"
    assert asked({}).judge == "scratch"
    assert asked({}).stop == "none"
    assert asked({"weights": "vanilla.pt"}).stop == asked({"judge": "inherited"}).stop == "front"
    assert asked({"judge": "inherited", "stop": "none"}).stop == "none"
    with pytest.raises(BadInput, match="--weights goes with --judge inherited, got --judge scratch"):
        asked({"weights": "vanilla.pt", "judge": "scratch"})


def test_the_command_line_has_no_option_beside_these() -> None:
    """One that is added to the parser alone would be lost on the way."""
    written = {o for action in parser()._actions for o in action.option_strings}
    others = ("resume", "dry_run", "list_spaces", "quiet", "version", "help")
    assert written - {"-h"} == {f"--{name.replace('_', '-')}" for name in (*options(), *others)}


def test_what_is_set_on_resume_is_what_the_document_then_says() -> None:
    before = asked({"trials": 3})
    for name, (field, option) in options().items():
        if option.stored and not option.fixed and name != "gpus_per_trial":
            after = to_document(changed(before, {name: EXAMPLES[name]}))
            assert after[field.name] != to_document(before)[field.name], name


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"trials": None}, "--trials must be a whole number, got None"),
        ({"trials": True}, "--trials must be a whole number, got True"),
        ({"budget": 2.5e9}, "--budget must be text, or several, got 2500000000.0"),
        ({"proxy_width": "0.5"}, "--proxy-width must be a number, got '0.5'"),
        ({"seed": 1.5}, "--seed must be a whole number, got 1.5"),
        ({"epochs": 2.5}, "--epochs must be a whole number, got 2.5"),
        ({"references": "no"}, "--references must be True or False, got 'no'"),
        ({"output": None}, "--output must be text, got None"),
        ({"output": "~nobody-has-this-name/x"}, "~nobody-has-this-name/x: Could not determine home directory"),
        ({"storage": "~nobody-has-this-name/x"}, "~nobody-has-this-name/x: Could not determine home directory"),
        ({"name": "x" * 300}, "--name must be a plain folder name"),
    ],
)
def test_values_of_the_wrong_kind_are_one_line(written: dict, says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)) as error:
        asked(written)
    assert "\n" not in str(error.value)


def test_a_question_survives_its_document() -> None:
    question = replace(
        asked({**EXAMPLES, "proxy_width": 1.0, "address": None, "allow_unauthenticated": False, "remeasure": False}),
        planned=4,
    )
    document = yaml.safe_load(yaml.safe_dump(to_document(question)))
    again = from_document(document, Path("elsewhere/mine"))
    assert again == question
    elsewhere = {"address", "allow_unauthenticated", "output", "name", "remeasure"}
    assert {f.name for f in fields(Question)} - set(document) == elsewhere


def test_python_asks_as_the_command_line_does() -> None:
    assert asked({"recipe": replace(RECIPES["scratch"], epochs=3)}) == asked({"epochs": 3})
    assert asked({"references": False}) == asked({"no_references": True})
    assert asked({"budget": "1GFLOPs"}) == asked({"budget": ["1GFLOPs"]})
    with pytest.raises(BadInput, match="unknown option 'epoch': did you mean 'epochs'"):
        asked({"epoch": 3})


def test_paths_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold in other folders and on other days, and ``~`` is the home folder, not a folder called so."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    paths = {"data_root": "~/d", "storage": "~/s", "output": "~/o", "space": "~/mine.yaml"}
    question, home = asked(paths), tmp_path / "home"
    assert (question.data_root, question.output) == (home / "d", home / "o")
    assert (question.storage, question.space) == (str(home / "s"), str(home / "mine.yaml"))
    assert asked({"data_root": "d"}).data_root == tmp_path / "d"
    assert asked({"storage": "s3://bucket/x/"}).storage == "s3://bucket/x"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "memory::x", "file:///tmp/x::y", "a\nb", "a\x1b[31m"])
def test_a_name_is_a_folder_name_and_nothing_else(name: str) -> None:
    with pytest.raises(BadInput, match="--name must be a plain folder name") as error:
        asked({"name": name})
    assert "\n" not in str(error.value)


@given(st.text(min_size=1, max_size=12))
def test_any_name_is_taken_or_refused_in_one_line(name: str) -> None:
    try:
        question = asked({"name": name})
    except BadInput as error:
        said = str(error)
    else:
        said = ""
        assert question.folder.parent == Path("results")
        assert "::" not in name
    assert said.isprintable()


def test_the_device_is_this_machines_unless_a_cluster_is_joined() -> None:
    """One with GPUs trains on them by default, whatever the head has; one without does not."""
    on_gpus = placed(asked({}), gpus=4.0)
    assert (on_gpus.device, on_gpus.gpus_per_trial, on_gpus.trials) == ("cuda", 0.25, 200)
    on_cpus = placed(asked({}), gpus=0.0)
    assert (on_cpus.device, on_cpus.gpus_per_trial, on_cpus.trials) == (
        "cpu",
        0.0,
        0,
    )  # a measurement will tell how many
    assert placed(asked({"gpus_per_trial": 0.0}), gpus=4.0).device == "cpu"
    assert placed(asked({"device": "cpu", "trials": 3}), gpus=4.0).trials == 3
    assert placed(asked({"gpus_per_trial": 1.0}), gpus=4.0).gpus_per_trial == 1.0


@pytest.mark.parametrize("written", [{"gpus_per_trial": 1.0}, {"device": "cuda"}, {"device": "cuda", "trials": 3}])
def test_a_gpu_that_is_not_there_is_refused(written: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="the cluster has no GPU; use --device cpu, or leave it out"):
        placed(asked(written), gpus=0.0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match="this machine has no GPU that torch can use"):
        placed(asked(written), gpus=None)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"device": "cpu", "gpus_per_trial": 1.0}, "goes with --device cuda, got --device cpu"),
        ({"device": "cuda", "gpus_per_trial": 0.0}, "needs --gpus-per-trial above 0, got 0"),
        ({"gpus_per_trial": -1.0}, "must be at least 0, got -1"),
        ({"gpus_per_trial": float("nan")}, "must be at least 0, got nan"),
        ({"cpus_per_trial": float("nan")}, "must be above 0, got nan"),
        ({"stop": "frnt"}, "unknown stopping rule 'frnt'"),
        ({"judge": "scatch"}, "unknown judge 'scatch': did you mean 'scratch'"),
    ],
)
def test_what_can_not_be_is_refused(written: dict, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        asked(written)


def test_trials_can_only_grow() -> None:
    before = asked({"trials": 3})
    assert changed(before, {"trials": 4}).trials == 4
    with pytest.raises(BadInput, match="can only grow, from 3; got 2"):
        changed(before, {"trials": 2})


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in said for name in options())
    assert max(map(len, said.splitlines())) <= 90
