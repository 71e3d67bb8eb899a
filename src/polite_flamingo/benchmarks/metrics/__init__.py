"""Official metrics of the sets, from their definitions: each says whether one answer is right, 0 to 1."""
