"""How the pocket checkpoint learns: one module for each stage of training."""
