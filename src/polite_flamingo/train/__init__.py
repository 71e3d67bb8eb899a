"""Training: per-turn loss masks, multi-turn augmentation, mixtures, the loop and the U-shaped stages."""
