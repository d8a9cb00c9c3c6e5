"""DOCX, PPTX and XLSX, read from the XML of their packages (`ooxml`)."""
