"""One HTML file about the filtering: what each filter took of each source, score histograms, examples to browse."""
