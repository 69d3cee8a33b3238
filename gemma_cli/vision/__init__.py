"""Descriptions of pictures and videos: what is asked, in which order, and how the answers are written."""
