"""OpenFlamingo with LoRA: building, loading, freezing, generating, saving."""
