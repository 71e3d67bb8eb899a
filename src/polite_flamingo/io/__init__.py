"""Files and shards: atomic write, streaming read, what is damaged, locks, work that goes on."""
