"""The trained networks and the images that commands are given, and the files that are saved next to a `.net`.

`models` and `program_file` load networks, `images` loads images, `companions` saves the trained network next to a `.net`, and
`kept` checks whether it is still there.
"""
