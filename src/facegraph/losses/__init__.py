"""Point losses, the relative location loss, and the criteria that models are trained with."""
