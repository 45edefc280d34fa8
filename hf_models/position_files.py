"""Position encodings of the user's own files: how a name becomes a class, and how the file travels with the model.

SPDX-License-Identifier: Apache-2.0
"""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from .position_custom import CUSTOM_ENCODINGS
from .position_encoding import PositionEncoding


def import_encoding(name: str) -> type[PositionEncoding]:
    """The class that "file.Class" names: from beside the model's code, else from the Python path.

    Raises:
        ValueError: there is no such file or class, or it is no position encoding.
    """
    beside: Any = CUSTOM_ENCODINGS
    if name in beside:
        return beside[name]
    file, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(file), class_name, None)
    except ModuleNotFoundError as error:
        if error.name != file:
            raise
        raise ValueError(
            f"Position encoding {name!r} needs {file}.py: put its folder on the Python path (PYTHONPATH), or load "
            "with trust_remote_code=True where Longreach is not installed."
        ) from error
    if not (isinstance(found, type) and issubclass(found, PositionEncoding)):
        raise ValueError(f"{file}.py has no class {class_name!r} derived from PositionEncoding.")
    return found


def check_files(names: list[str]):
    """Raises ValueError where the file of a named encoding could not be saved with a model."""
    ours = {path.name for path in Path(__file__).parent.glob("*.py")}
    for name in names:
        if name in CUSTOM_ENCODINGS:
            continue
        encoding = import_encoding(name)
        file = getattr(sys.modules[encoding.__module__], "__file__", None)
        if encoding.__module__ == "__main__" or file is None:
            raise ValueError(f"Position encoding {name!r} cannot be saved: put its class in a file of its own.")
        if Path(file).name in ours:
            raise ValueError(
                f"Position encoding {name!r} cannot be saved: Longreach has a file {Path(file).name} too."
            )


def save_files(names: list[str], folder: str | Path):
    """Writes the files of these encodings, and the registry of them, beside a saved model's code."""
    folder, imports, entries = Path(folder), [], []
    for name in names:
        encoding = import_encoding(name)
        stem = encoding.__module__.rpartition(".")[2]
        source = Path(str(sys.modules[encoding.__module__].__file__)).read_text(encoding="utf-8")
        source = re.sub(r"^from hf_models\.(\w+) import", r"from .\1 import", source, flags=re.MULTILINE)
        (folder / f"{stem}.py").write_text(source, encoding="utf-8")
        imports.append(f"from .{stem} import {encoding.__name__}")
        entries.append(f'    "{name}": {encoding.__name__},')
    lines = ['"""Position encodings from files that are saved beside the model."""', "", *imports, "", ""]
    lines += ["CUSTOM_ENCODINGS: dict[str, type] = {", *entries, "}", ""]
    (folder / "position_custom.py").write_text("\n".join(lines), encoding="utf-8")
