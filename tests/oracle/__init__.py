"""An independent interpreter of the language on a virtual clock, and what compares runs with it."""
