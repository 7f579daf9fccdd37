"""File formats that publishers of face data use, read into plain arrays; a mistake names file and line."""
