"""How the pocket checkpoint is made: a Gemma 4 in small and its drafter, from scratch, from generated data.

Read the modules in this order: `data.grammar` and `data.numbers` (what it may say), `data.voices` and `data.speech`
(what it hears), `data.scenes` (what it sees), `data.task_mix` (what it is asked), `tokenizer`, `shapes` (the model),
`stages.audio_tower`, `stages.vision_tower`, `stages.decoder` and `stages.drafter` (how it learns), `export`,
`evaluate`. `python -m training` runs them all.
"""
