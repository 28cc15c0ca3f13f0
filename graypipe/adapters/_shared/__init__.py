"""Code shared by several adapters. None of these modules imports a framework."""
