"""Generates the overview of all tasks by skill, and a section for each."""

import inspect
import re
from dataclasses import fields
from itertools import groupby

from eval_harness.cli.tasks import by_skill
from eval_harness.tasks import Task

from .text import listed, prose, table


def overview() -> str:
    """Return the table of tasks."""
    rows = [[task.skill, f"[`{task.name}`](#{task.name})", prose(task.question), short(task)] for task in by_skill()]
    return table(["skill", "task", "question", "source"], rows)


def sections() -> str:
    """Return a heading for each skill, followed by the sections of its tasks."""
    parts = []
    for skill, tasks in groupby(by_skill(), key=lambda task: task.skill):
        parts += [f"### {skill[0].upper()}{skill[1:]}", *map(section, tasks)]
    return "\n\n".join(parts)


def section(task: Task) -> str:
    """Return the section of a task: question, examples, lengths, options, source."""
    options = [[code(f"{name}={default}"), prose(meaning)] for name, default, meaning in options_of(task)]
    parts = [
        f"#### `{task.name}` {{: #{task.name} }}",
        *map(block, paragraphs(task)),
        listed([f"`{asked}` → `{answer}`" for asked, answer in task.examples]),
        f"Length: {prose(task.length_meaning)}. Formats: {', '.join(map(code, task.formats))}.",
        table(["option", "meaning"], options) if options else "",
        source(task),
    ]
    return "\n\n".join(part for part in parts if part)


def paragraphs(task: Task) -> list[str]:
    """The docstring up to its sections."""
    text = inspect.cleandoc(type(task).__doc__ or "")
    return re.split(r"\n\n(?:Attributes|Example):\n", text)[0].split("\n\n")


def block(paragraph: str) -> str:
    """A paragraph of a docstring, or a list in it."""
    if not paragraph.startswith("- "):
        return prose(paragraph)
    return listed([prose(item) for item in re.split(r"^- ", paragraph, flags=re.MULTILINE)[1:]])


def options_of(task: Task) -> list[tuple[str, object, str]]:
    """Name, default and meaning of each option."""
    return [(option.name, getattr(task, option.name), meaning_of(type(task), option.name)) for option in fields(task)]


def meaning_of(task: type[Task], option: str) -> str:
    """Return the description of an option in the docstring of a class or of the base that defines it."""
    for base in task.__mro__:
        listed = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
        if found := re.search(rf"^    {option}: (.*?)(?=^    \w|\Z)", listed + "\n", flags=re.DOTALL | re.MULTILINE):
            return " ".join(found[1].split())
    return ""


def source(task: Task) -> str:
    """The source, linked."""
    found = re.fullmatch(r"(.*), (https://\S+)", task.source, flags=re.DOTALL)
    return f"Source: [{found[1]}]({found[2]})." if found else f"Source: {prose(task.source)}."


def short(task: Task) -> str:
    """Authors and year, linked."""
    found = re.match(r"(.*? \d{4})\b.*(https://\S+)", task.source, flags=re.DOTALL)
    return f"[{found[1]}]({found[2]})" if found else ""


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")
