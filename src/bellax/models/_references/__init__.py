"""Reference computations, one file a family; `bellax.models.references` is their public face."""
