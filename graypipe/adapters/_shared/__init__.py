"""Code shared by several adapters. No module in here imports a framework."""
