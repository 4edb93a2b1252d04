"""Whole reels, damaged and forged, through every way of reading one."""
