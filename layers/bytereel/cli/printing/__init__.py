"""How results, tables and progress are printed."""
