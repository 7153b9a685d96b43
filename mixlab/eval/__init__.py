"""What a checkpoint can do: bits per byte, samples. Knows log-probabilities, not models."""
