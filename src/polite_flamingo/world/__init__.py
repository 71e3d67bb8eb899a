"""The embedded world: scenes, their language, ground truth, and the training of its small models."""
