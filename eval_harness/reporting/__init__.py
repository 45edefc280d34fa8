"""Reports of a study: tables, figures and one self-contained HTML page."""

from eval_harness.reporting.page import make_report, print_summary


__all__ = ["make_report", "print_summary"]
