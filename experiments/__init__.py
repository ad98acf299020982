"""One file per question; each writes its results with their provenance."""
