"""One run: its preparation, its folder, its results."""
