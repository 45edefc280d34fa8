"""Tasks that need counters."""
