"""Web pages: fetched within limits, kept as files beside an index, and followed."""
