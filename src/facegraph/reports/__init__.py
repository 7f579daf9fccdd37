"""Figures and tables made from the files of a run alone; nothing here needs torch."""
