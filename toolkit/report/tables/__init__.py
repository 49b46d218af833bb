"""Tables of a report: what a table is, and one file for each thing that tables are about."""
