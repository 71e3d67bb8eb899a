"""Starting what outlives a function: the pipeline, a training in several processes, the two web interfaces."""
