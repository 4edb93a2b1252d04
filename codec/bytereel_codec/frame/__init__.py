"""A frame: its header, what closes and hides its payload, the leader, and the sizes all of these go by."""
