"""Figures of a report: the data that they are made from and how they are drawn by matplotlib."""
