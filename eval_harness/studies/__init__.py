"""Studies: lists of runs, and where they run."""
