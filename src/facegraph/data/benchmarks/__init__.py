"""Where each benchmark keeps its faces: from a folder as downloaded to a list of entries, with official counts."""
