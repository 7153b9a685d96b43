"""Weights, and what they mean: mixtures, designs, exact plans, cost. Arithmetic only."""
