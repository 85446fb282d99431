"""What a solve returns: a `Solution`, and the policies that it may hold."""
