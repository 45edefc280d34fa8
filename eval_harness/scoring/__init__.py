"""The outcome of every test example: test lengths, baselines, decoding, saved models."""
