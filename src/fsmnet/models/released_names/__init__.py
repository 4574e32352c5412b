"""How each method's authors call the entries of their checkpoints: one file a model, of the model's name."""
