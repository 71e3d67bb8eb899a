"""An OpenAI-compatible server for rewriters and assistants (docs/serving.md)."""
