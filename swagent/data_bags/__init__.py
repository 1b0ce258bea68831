"""The stores behind exchange, one file each."""
