"""Metrics, their uncertainty, and the report."""
