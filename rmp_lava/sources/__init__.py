"""What the commands are made of: from a network and images that a user names to a measured `.net` file.

`targets` (and `program_file`) and `samples` bring the network and the images, `conversion` goes the way of `convert` and
`tune` and measures it by `stages`, `keep` writes what belongs together, `compare` says whether two runs agree, and `demo`
is all of it once. The passes themselves are in `rmp_lava.conversion` and know nothing of files.
"""
