"""When each word of a transcript is said, from the attention of the model and the sound itself."""
