"""Markdown from text."""

import re


def prose(text: str) -> str:
    """Convert the text of a docstring to Markdown: escape special characters and link papers."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    parts = [part if part.startswith("`") else re.sub(r"([*_|<>\[\]])", r"\\\1", part) for part in parts]
    cited = r"([A-Z]\w+(?: (?:et al\.|and [A-Z]\w+))? \d{4}), (https://arxiv\.org/abs/[\d.]+\d)"
    return re.sub(cited, r"[\1](\2)", "".join(parts))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def listed(items: list[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {item}" for item in items)
