"""Experiments: systems x folds x seeds, each cell one run. Imports torch only to train a cell or try a setting."""
