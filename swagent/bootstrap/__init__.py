"""From a bare instance to one able to converge."""
