"""Studies of self-supervised pre-training: from a YAML question to a Parquet answer."""
