"""A model that a `gemma serve` of the same user holds, in place of one that each command loads.

    place (which sockets) -> wire (values as frames) -> engine (a command's side); gemma_cli.serve.warm is the server's

Nothing here imports torch. What is said is what the model would say in this process: the server must hold the same
files with the same settings, and it sends the engine's own events.
"""
