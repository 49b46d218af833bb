"""The commands: thin, each imports heavy modules only when it runs, so that light commands stay light."""
