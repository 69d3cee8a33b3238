"""Fetching a recording by its address, and the addresses that are refused."""
