"""The gallery: one classic model a file, with its reference."""
