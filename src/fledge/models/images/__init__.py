"""Models of pictures: densities, autoencoders, what draws them out of noise."""
