"""What the pocket checkpoint is taught: texts, pictures and speech, all generated."""
