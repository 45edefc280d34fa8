"""Tasks that need a memory as long as the input, read in more than one order."""
