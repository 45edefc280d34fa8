"""Reading and writing result files: JSON and Parquet, each file complete or absent."""

import json
import math
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval_harness.errors import HarnessError


@contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Yields a temporary name beside `path`; the file replaces `path` if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Generator[Path]:
    """Yields a temporary folder beside `path`, which takes that name when the block ends well.

    Raises:
        HarnessError: there is something of that name already.
    """
    path = Path(path)
    if path.exists():
        raise HarnessError(f"{path} exists already; choose another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON that any reader accepts: a number that is not finite becomes null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_json(path: str | Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
        HarnessError: there is no such file, or it is not complete.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HarnessError(f"There is no file {path}.") from None
    except ValueError:
        raise _incomplete(path, "JSON") from None


def write_table(path: str | Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as Parquet.

    Args:
        path: the file.
        rows: one dictionary per row. Columns that the schema calls nullable may be left out.
        schema: the columns; others are refused, because pyarrow would drop them silently.
    """
    names = set(schema.names)
    required = {field.name for field in schema if not field.nullable}
    for row in rows:
        if odd := (required - row.keys()) | (row.keys() - names):
            raise ValueError(f"{Path(path).name}: columns missing or not in the schema: {', '.join(sorted(odd))}")
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """Reads what `write_table` wrote.

    Raises:
        HarnessError: there is no such file, or it is not complete.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read().to_pylist()
    except FileNotFoundError:
        raise HarnessError(f"There is no file {path}.") from None
    except (pa.ArrowInvalid, OSError):
        raise _incomplete(path, "Parquet") from None


def _incomplete(path: str | Path, kind: str) -> HarnessError:
    return HarnessError(f"{path} is not a complete {kind} file; delete it and run the same command again.")
