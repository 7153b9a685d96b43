"""From scores to a verdict: fits of score = f(mix), the best mix, how sure."""
