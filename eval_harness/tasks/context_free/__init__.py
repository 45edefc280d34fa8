"""Tasks that need a stack."""
