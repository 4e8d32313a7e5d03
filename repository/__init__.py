"""Model artefacts: frozen graphs with their manifests."""
