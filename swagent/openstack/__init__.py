"""One small client per OpenStack service."""
