"""Tasks that a finite automaton solves."""
