"""mixlab: which mix of data sets should a language model be trained on? Cheap experiments, honest verdicts."""

__version__ = "0.1.0"
