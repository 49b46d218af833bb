"""A trained system on audio: predictions, embeddings, how well it does on a corpus, which of two does better."""
