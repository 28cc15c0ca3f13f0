"""Code that several adapters share; none of it imports a framework."""
