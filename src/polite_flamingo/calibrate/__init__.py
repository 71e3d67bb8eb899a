"""Calibration: what the filters catch, what they cost, and thresholds that reach a stated target. Ours."""
