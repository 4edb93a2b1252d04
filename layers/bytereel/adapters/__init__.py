"""What stands behind the ports. Vendor errors are translated here and nowhere else."""
