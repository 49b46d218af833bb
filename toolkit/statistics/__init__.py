"""Accuracies with their spread, intervals and paired tests, whose unit is the speaker; calibration and abstention."""
