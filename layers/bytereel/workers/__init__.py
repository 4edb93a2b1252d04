"""What keeps the road running on one machine: worker processes, their leases and memory, and who looks after them."""
