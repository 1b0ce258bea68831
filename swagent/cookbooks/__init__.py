"""From a cookbook specification to a release on disk."""
