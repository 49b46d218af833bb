"""Accuracies with their spread and intervals, paired tests, calibration, abstention.

The speaker is the unit: intervals draw speakers, tests pair them, and below `MIN_SPEAKERS` there are neither.
"""
