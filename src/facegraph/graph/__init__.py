"""Which landmarks are neighbours: correlation over training faces, top-k lists, masks, published lists."""
