"""Descriptions of pictures and films: what is asked, in which order, and how the answers are written."""
