"""Adds the generated pages to the manual; a hook of mkdocs, see `mkdocs.yml`."""

from manual.choices import REGISTRIES, choices  # this folder is on the path while mkdocs loads the hook
from manual.pages import FOLDERS, fill, made, navigation
from mkdocs.structure.files import File


def on_config(config):
    """Place the pages of a registry below its overview."""
    config.nav = [place(title, page) for entry in config.nav for title, page in entry.items()]
    return config


def place(title: str, page):
    """Return an entry of the table of contents, with the pages of its registry if it is an overview."""
    for kind in REGISTRIES:
        if page == f"{FOLDERS[kind]}.md":
            return {title: [page, *navigation(kind)]}
    return {title: page}


def on_files(files, config):
    """Add pages and pictures."""
    for kind in REGISTRIES:
        for choice in choices(kind):
            for address, content in made(choice).items():
                files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Insert the generated tables into a page."""
    return fill(markdown)
