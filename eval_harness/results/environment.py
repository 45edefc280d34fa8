"""The environment of a run: packages, code revision, hardware."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch


PACKAGES = ("longreach", "torch", "transformers", "accelerate", "datasets", "evaluate", "numpy", "scipy", "pyarrow")


def describe_environment() -> dict:
    """Everything about this machine and its software that a result may depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict | None:
    """Revision of the checkout that this code runs from, and whether it was changed since; None outside of one."""

    def ask(*arguments):
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"revision": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
