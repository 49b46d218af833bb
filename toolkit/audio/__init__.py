"""Audio: a file or bytes to mono float32 at the system's rate."""
