"""The demo's page: the rewriter and the assistants in a browser, beside each other."""
