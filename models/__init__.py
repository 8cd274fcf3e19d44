"""Networks and methods: tensors in, named loss terms out. Knows nothing of studies, files or tables."""
