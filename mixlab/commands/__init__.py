"""The commands grouped by noun; each imports its room when it runs."""
