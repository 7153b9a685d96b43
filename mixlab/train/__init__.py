"""One proxy run: batches, optimizer, loop, checkpoints, logbook."""
