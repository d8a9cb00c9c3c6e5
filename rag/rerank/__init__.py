"""Rerankers: they put the candidates of a query into a better order."""
