"""The training loop on SpeechBrain's Brain."""
