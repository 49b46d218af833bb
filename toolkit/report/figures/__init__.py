"""Figures of a report: one file for each, with the data it is made from and how it is drawn by matplotlib."""
