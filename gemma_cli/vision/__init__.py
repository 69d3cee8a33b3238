"""Descriptions of pictures and videos: the questions, their order, and the output."""
