"""From text somewhere to token shards here: sources, cleaning, dedup, hold-out, tokens."""
