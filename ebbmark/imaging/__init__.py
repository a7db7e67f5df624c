"""A pure library: the bytes of a photo and a recipe in, the bytes of the result out; no I/O, no async."""
