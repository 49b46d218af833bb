"""Figures of a report: their data, and how matplotlib draws them."""
