"""MuSiCa: selective cascaded regression with patch attention."""
