"""Trained models as versions of a registry: what they are asked, what they were measured by, which one is the champion.

MLflow keeps them (`tracking.registry`); this room knows what makes a version and what decides between two.
"""
