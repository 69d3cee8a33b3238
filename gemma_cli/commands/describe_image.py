"""`gemma describe-image`: what is in a picture."""

PROMPT = "Describe this image."
