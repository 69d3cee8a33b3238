"""The slash commands of the chat: one small function each, in a table for each subject."""
