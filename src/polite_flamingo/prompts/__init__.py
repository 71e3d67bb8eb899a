"""The paper's prompt templates and its 24 distortion commands."""
