"""Features computed once, on disk, for all folds, seeds, systems and processes."""
