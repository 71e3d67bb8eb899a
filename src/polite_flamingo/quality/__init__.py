"""Quality gates between the stages."""
