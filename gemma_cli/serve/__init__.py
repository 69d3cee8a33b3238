"""`gemma serve`: one loaded model behind the HTTP interface that OpenAI's clients speak.

    guard (who may ask, how much) -> app (routes) -> fields -> chat_request -> worker -> engine
                                                                        worker -> replies -> the client

The event loop parses, waits and writes; one thread, the worker's, drives the engine.
"""
