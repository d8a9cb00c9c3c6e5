"""A model's name becomes a local folder: a path, the model hub, or the package index."""
