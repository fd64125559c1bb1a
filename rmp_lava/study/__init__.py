"""Studies: many measurements of converted networks, each made once and stored, in this process or on many machines.

study     what to measure, as a value; read from a TOML file
grid      its points, and the jobs that measure them
job       a measurement as a value
jobs      its functions: plain settings in, plain values out, anywhere
store     a folder of measurements
pool      what executes jobs: this process
cluster   or Dask's workers
sweep     jobs in order, and what came of them
"""
