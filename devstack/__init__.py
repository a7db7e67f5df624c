"""The same real servers as in production, as wheels and jars: no Docker, no Java, no root."""
