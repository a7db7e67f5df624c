"""What every process tells about itself."""
