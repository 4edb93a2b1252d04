"""The profiles as data, the files that users keep theirs in, and the sizes of pictures that suit them."""
