"""Many replies at once: the requests that run, and the rounds that they share."""
