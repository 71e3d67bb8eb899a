"""The paper's tables and figures as numbers, ours beside them: docs/results.md."""
