"""One file per compression method: frozen settings and one verb."""
