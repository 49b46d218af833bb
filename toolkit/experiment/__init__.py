"""Experiments: systems x folds x seeds, each cell one run. Imports torch only where a cell is trained."""
