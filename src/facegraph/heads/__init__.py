"""Heads: backbone features in, landmarks out."""
