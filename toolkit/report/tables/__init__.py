"""Tables of a report: the table itself, its formats and files, and one file for each subject."""
