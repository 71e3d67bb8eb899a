"""The image doctor: what is wrong with the pictures of a data root before a training finds out."""
