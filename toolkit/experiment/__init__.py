"""Experiments: many systems on many folds with many seeds, one run a cell; no torch but where a cell is trained."""
