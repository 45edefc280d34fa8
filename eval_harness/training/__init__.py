"""One training run with `transformers.Trainer`."""
