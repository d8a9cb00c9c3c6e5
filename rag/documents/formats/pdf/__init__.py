"""PDF: text, tables, forms and running lines; `pdf` puts them together."""
