"""Pictures as data: files in, sets with labels, fixed binary forms, augmentations, sheets out."""
