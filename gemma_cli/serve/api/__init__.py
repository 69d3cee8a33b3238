"""The bodies of requests and replies, in the forms that clients of OpenAI know."""
