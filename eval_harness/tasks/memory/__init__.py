"""Tasks that need one fact kept over any distance."""
