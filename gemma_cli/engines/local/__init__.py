"""The engine of this project: Gemma 4 and its drafter on this machine, in torch."""
