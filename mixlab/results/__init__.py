"""What came out: the store over all runs, paired comparisons, charts. Never imports training."""
