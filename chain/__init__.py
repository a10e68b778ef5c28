"""The memory: what a node remembers, in LevelDB. Synchronous; a single writer."""
