"""How the pocket checkpoint is made: a Gemma 4 in small and its drafter, from scratch, from generated data.

Read the modules in this order: `grammar` and `numbers` (what it may say), `voices` and `speech` (what it hears),
`scenes` (what it sees), `tasks` (what it is asked), `tokenizer`, `shapes` (the model), `stages` (how it learns),
`drafter`, `evaluate`, `export`. `python -m training` runs them all.
"""
