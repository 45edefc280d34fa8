"""Trained models that training can start from: a folder with a config.json, or a Hub id such as `user/model`."""

import hashlib
import re
from functools import cache
from pathlib import Path

from eval_harness.errors import HarnessError


WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def is_checkpoint(name: str) -> bool:
    """Whether a model's name is that of a checkpoint: it has a slash, as no architecture's name has."""
    return "/" in name


def revision_of(source: str) -> str:
    """The identity of a checkpoint's state: the commit on the Hub, or a digest of the folder's files.

    Raises:
        HarnessError: there is no such checkpoint.
    """
    folder = Path(source)
    if (folder / "config.json").is_file():
        return f"sha256:{_digest(folder)}"
    if folder.is_dir():
        raise HarnessError(f"{source} holds no model: there is no config.json in it.")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        raise HarnessError(f"There is no folder {source}.")
    return _commit(source)


def on_the_hub(revision: str) -> str | None:
    """The commit to load, or None for a folder."""
    return None if revision.startswith("sha256:") else revision


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    weights = sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))
    for path in [folder / "config.json", *weights]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@cache
def _commit(source: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # In the cache, each commit has its own folder.
        return Path(hf_hub_download(source, "config.json")).parent.name
    except RepositoryNotFoundError as error:
        raise HarnessError(f"There is no {source!r}: no folder, and no model on the Hub that you may read.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, EntryNotFoundError, OSError) as error:
        cause = str(error).strip().splitlines()[0]
        raise HarnessError(f"There is no folder {source!r}, and the Hub has not given it: {cause}") from error
