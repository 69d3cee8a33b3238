"""Checkpoints on disk and on the hub: what there is, which to choose, fetching and removing."""
