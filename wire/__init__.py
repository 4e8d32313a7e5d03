"""What travels between client, gateway and node: paths, headers, errors, image header. No I/O."""
