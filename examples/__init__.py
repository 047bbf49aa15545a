"""Programs over holdfast's public names, as a user would write them; each with a stand-in for the far side."""
