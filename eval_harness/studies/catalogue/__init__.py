"""The studies that come with Longreach: a file each, with its list of runs in `STUDY`."""
