"""Where the pictures of a reel lie in those of a video that was scaled, cropped or framed."""
