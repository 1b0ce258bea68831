"""Measurements that anyone can repeat: each file measures one thing beside another, in the same run."""
