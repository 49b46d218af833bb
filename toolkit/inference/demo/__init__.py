"""`toolkit demo`: a page that labels what a microphone or a file holds, with trained systems side by side."""
