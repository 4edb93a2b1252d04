"""Everything that makes values of outside bytes, fed without files: of the codec and of the road."""
