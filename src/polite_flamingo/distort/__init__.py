"""Response distortion (section 3.1): three strategies that make a good response terse or noisy."""
