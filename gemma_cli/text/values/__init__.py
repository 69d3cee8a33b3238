"""Translation of data files: in PO, XLIFF, HTML, JSON and tables only values with words change."""
