"""Data with text in it: PO, XLIFF, HTML, JSON and tables, of which only the values that hold words are translated."""
