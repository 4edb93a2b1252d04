"""Objects and the inbox as files in a folder."""
