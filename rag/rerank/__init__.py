"""Candidates put in a better order by a cross-encoder."""
