"""Uses trained systems: predictions and embeddings of audio, evaluation on a corpus, comparison of two systems."""
