"""CSV, TSV and JSON lines: a row at a time."""
