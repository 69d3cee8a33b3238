"""A line typed into the chat: what it means, and the files it names."""
