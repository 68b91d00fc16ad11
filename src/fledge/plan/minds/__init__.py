"""Other minds: what somebody wants, believes and will do, out of what was seen of them."""
