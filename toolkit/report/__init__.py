"""Reports: an experiment's tables, figures and page; the page of a search."""
