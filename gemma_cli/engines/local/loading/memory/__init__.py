"""Memory of models: estimates, whether a model fits, and placement of its layers."""
