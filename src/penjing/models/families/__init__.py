"""One file per family of models; families do not know each other."""
