"""Adds to the manual what is made from the code: run by mkdocs, see `mkdocs.yml`."""

from manual.choices import REGISTRIES, choices  # this folder is on the path while mkdocs loads the hook
from manual.pages import FOLDERS, fill, made, navigation
from mkdocs.structure.files import File


def on_config(config):
    """Puts the pages of a registry below its overview."""
    config.nav = [place(title, page) for entry in config.nav for title, page in entry.items()]
    return config


def place(title: str, page):
    """An entry of the table of contents, with a registry's pages if it is their overview."""
    for kind in REGISTRIES:
        if page == f"{FOLDERS[kind]}.md":
            return {title: [page, *navigation(kind)]}
    return {title: page}


def on_files(files, config):
    """Adds pages and pictures."""
    for kind in REGISTRIES:
        for choice in choices(kind):
            for address, content in made(choice).items():
                files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fills in the tables that a page asks for."""
    return fill(markdown)
