"""Looking at a prepared store: sheets of faces, figures and one page that shows them."""
