"""Many replies at once: which requests are answered together, and the rounds they share."""
