"""Writes ``options.md``: every option of a search, from the code that reads them.

python docs/make_options.py
"""

from pathlib import Path

from nas.command_line import parser
from nas.option import Option
from nas.question import options

HEAD = """# Every option of a search

The same from the command line (`--proxy-width 0.5`) and from Python (`search(…, proxy_width=0.5)`; a list where an
option may be given several times, `no_references=True` for one without a value). *Resume* says whether `--resume` can
change it. This page is written by `python docs/make_options.py`.
"""
OTHERS = "other than a new search"


def page() -> str:
    """The whole page."""
    groups: dict[str, list[str]] = {}
    for name, (field, option) in options().items():
        rows = groups.setdefault(option.group, ["| option | what it says | default | resume |", "|---|---|---|---|"])
        default, resume = _default(field.default, option), _resume(option)
        rows.append(f"| `--{name.replace('_', '-')}` | {_cell(option.help)} | {default} | {resume} |")
    parts = [
        HEAD,
        *(f"## {group[0].upper()}{group[1:]}\n\n" + "\n".join(rows) + "\n" for group, rows in groups.items()),
    ]
    others = next(g for g in parser()._action_groups if g.title == OTHERS)
    rows = [f"| `{a.option_strings[-1]}` | {_cell(str(a.help))} |" for a in others._group_actions]
    parts.append("\n".join(["## Other than a new search\n", "| option | what it says |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("%%", "%").replace("%(prog)s", "launch.py")


def _default(value: object, option: Option) -> str:
    if option.flag or value in (None, (), "") or "(default" in option.help:
        return ""
    return f"`{value}`"


def _resume(option: Option) -> str:
    if option.fixed:
        return "no" if not option.same else "the same again"
    return "yes" if option.stored else "each time anew"


if __name__ == "__main__":
    Path(__file__).with_name("options.md").write_text(page(), encoding="utf-8")
