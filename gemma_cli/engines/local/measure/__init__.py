"""What a model is measured against: transformers, memory bandwidth, held-out replies."""
