"""What there can be in a household."""

ROOMS = ("kitchen", "hall", "bedroom", "bathroom", "garage", "garden")
HOLDERS = ("box", "shelf", "drawer", "basket", "cupboard", "chest", "bag", "tray")
THINGS = ("apple", "book", "cup", "key", "lamp", "shirt", "spoon", "towel", "pen", "plate")
SHUT = ("box", "drawer", "cupboard", "chest", "bag")  # those that can be
WATER = ("kitchen", "bathroom")  # where things are washed
HELD = "you"
