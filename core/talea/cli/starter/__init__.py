"""The files that `talea init` writes."""
