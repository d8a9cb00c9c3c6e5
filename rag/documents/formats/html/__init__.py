"""HTML pages, and EPUB, which is made of them; `html` puts the parts of a page together."""
