"""What `graypipe demo` runs: sample images, the same results computed by hand, the checks and the picture."""
