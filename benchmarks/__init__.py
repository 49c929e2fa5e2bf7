"""How fast the tap is: `make bench`."""
