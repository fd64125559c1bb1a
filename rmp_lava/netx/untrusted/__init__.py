"""What is looked at in a file before the HDF5 library may read it."""
