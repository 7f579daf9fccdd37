"""The prepared store: faces cut out once, annotations beside them, read without copies."""
