"""Figures of a report: pure functions from arrays to matplotlib figures, which are imported where one is drawn."""
