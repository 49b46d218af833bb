"""The commands: thin, each imports what it needs inside itself, so that light commands stay light."""
