"""What there can be in a household."""

ROOMS: tuple[str, ...] = ("kitchen", "hall", "bedroom", "bathroom", "garage", "garden")
HOLDERS: tuple[str, ...] = ("box", "shelf", "drawer", "basket", "cupboard", "chest", "bag", "tray")
THINGS: tuple[str, ...] = (
    "apple",
    "book",
    "cup",
    "key",
    "lamp",
    "shirt",
    "spoon",
    "towel",
    "pen",
    "plate",
)
SHUT = ("box", "drawer", "cupboard", "chest", "bag")  # those that can be
WATER = ("kitchen", "bathroom")  # where things are washed
HELD = "you"
