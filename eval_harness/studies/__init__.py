"""The studies: a file each, with its list of runs in `STUDY`."""
