"""The main job on a real file, to be watched: `make demo`."""
