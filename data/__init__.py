"""Pictures: the sets, the subsets, which of them are in a batch, and the views made of them."""
