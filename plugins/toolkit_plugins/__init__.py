"""First-party plugins; they come in by entry points like everyone's."""
