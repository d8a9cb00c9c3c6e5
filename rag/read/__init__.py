"""The span reader: where in a passage the answer stands, and whether it stands there at all."""
