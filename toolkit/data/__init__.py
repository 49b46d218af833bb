"""Training data: utterances cut into segments, segments put into batches, features computed once."""
