"""The commands: thin, each imports what is heavy inside itself, so that light commands stay light."""
