"""Requests to token ids, and token ids to events."""
