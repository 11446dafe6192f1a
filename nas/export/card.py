"""A model card: one page that says what a network is, how it was found, trained and measured, and its limits."""

from collections.abc import Mapping
from typing import Any

from search_spaces import VANILLA, Architecture

from ..metrics import METRICS, show


def card(document: Mapping[str, Any], architecture: Architecture, forms: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, from an architecture's YAML.

    Args:
        forms: of each exported file its figures, as ``nas.export`` measured them.
    """
    parts = [
        _what(document, architecture),
        _found(document),
        _trained(document),
        _forms(forms),
        _limits(document),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(document: Mapping[str, Any], architecture: Architecture) -> str:
    backbone = architecture.backbone
    replaced = [choice for _, choice in architecture.layers if choice != VANILLA]
    operators = ", ".join(sorted({choice.operator for choice in replaced})) or "none"
    costs = (document.get("metrics") or {}).items()
    known = [show(name, value) for name, value in costs if name in METRICS]
    lines = [
        f"# {backbone.name} with layer-wise compact convolutions",
        "",
        f"An image classifier: `{backbone.name}` for {backbone.classes} classes and images of {backbone.resolution} "
        f"pixels; {len(replaced)} of its convolutions are replaced ({operators}), each by a setting of its own.",
        "",
        f"Costs of one image: {'; '.join(known)}." if known else "",
        "",
        "| layer | operator |",
        "|---|---|",
        *(f"| `{name}` | {choice} |" for name, choice in architecture.layers if choice != VANILLA),
    ]
    return "\n".join(lines)


def _found(document: Mapping[str, Any]) -> str:
    origin, metrics = document.get("provenance") or {}, document.get("metrics") or {}
    metrics = metrics.get("as_searched") or metrics
    if "run" not in origin:
        return f"## How it was found\n\nPublished: {origin.get('source', 'unknown')}."
    budget = ", ".join(document.get("budget") or []) or "none"
    said = (metrics.get("final") or {}).get("result")
    lines = [
        "## How it was found",
        "",
        f"By a search of the space `{document.get('space')}` within {budget} (run `{origin['run']}`, trial "
        f"{origin.get('trial')}, judge `{origin.get('judge')}`, seed {origin.get('seed')}, {origin.get('date')}).",
        *(["", f"Its final stage: {said}"] if said else []),
    ]
    return "\n".join(lines)


def _trained(document: Mapping[str, Any]) -> str:
    found, recipe = (document.get("metrics") or {}).get("trained"), document.get("training") or {}
    if not found:
        return "## How it was trained\n\nNot said in its YAML."
    lines = [
        "## How it was trained",
        "",
        f"On `{found['dataset']}` for {found['epochs']} epochs, seed {found['seed']}; recipe: {recipe.get('source')}.",
        "",
        f"One training. Test images, once: top-1 {found['test']['top1']:.2%}, top-5 {found['test']['top5']:.2%}.",
    ]
    if found.get("validation"):
        lines.append(f"Validation images, by which the epoch was chosen: top-1 {found['validation']['top1']:.2%}.")
    return "\n".join(lines)


def _forms(forms: Mapping[str, Mapping[str, Any]]) -> str:
    if not forms:
        return ""
    lines = [
        "## Exported forms",
        "",
        "| file | accuracy | same class as in torch | largest difference of logits | images |",
        "|---|---|---|---|---|",
    ]
    for name, figures in forms.items():
        accuracy, alike = f"{figures['accuracy']:.2%}", f"{figures['alike']:.2%}"
        lines.append(f"| `{name}` | {accuracy} | {alike} | {figures['difference']:.1e} | {figures['images']} |")
    lines += ["", "The difference is relative to the largest logit; the images are test images."]
    return "\n".join(lines)


def _limits(document: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "## Limits and licence",
            "",
            "It was tested on images like those that it was trained on, and on no others. Its accuracy is that of one "
            "training; another seed gives another one. FLOPs are multiply-adds and no time.",
            "",
            "The weights have the licence that the training data allows; the code is under the MIT licence.",
        ]
    )
