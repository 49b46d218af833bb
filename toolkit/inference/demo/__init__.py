"""`toolkit demo`: a page on which trained systems label a recording, from a microphone or a file, side by side."""
