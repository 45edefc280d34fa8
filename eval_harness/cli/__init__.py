"""The command `longreach`."""

from eval_harness.cli.main import script


__all__ = ["script"]
